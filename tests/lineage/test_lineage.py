"""Lineage: what is recorded of runs, models and files, and the walk from one to those that it was made from."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from commandline import call

from steersman.errors import DataError, UsageError
from steersman.lineage.inputs import content_at, content_named
from steersman.lineage.records import FILE, made_at, sidecar_of, write_model_lineage, write_run_lineage, write_sidecar
from steersman.lineage.walk import Ancestor, Descendant, ancestors_of, artefact_named, descendants_of
from steersman.runs.folder import RunFolder
from steersman.settings.base import Settings, load_settings
from steersman.settings.gate import GateSettings
from steersman.settings.ppo import PpoSettings
from steersman.settings.reward import RewardSettings
from steersman.settings.sample import SampleSettings
from steersman.settings.sft import SftSettings
from steersman.settings.simulate import SimulateSettings


def run(kind: str, schema: type[Settings], *words: str, name: str = "") -> None:
    """A run that has finished, with one file of weights that follows from its settings."""
    out = Path("runs") / (name or kind)
    settings = load_settings(schema, None, [*words, f"run.out={out}"])
    folder = RunFolder(out)
    folder.model.mkdir(parents=True)
    folder.recipe_path.write_text("")
    folder.stamp_path.write_text(json.dumps({"kind": kind}))
    write_run_lineage(folder, kind, settings, {"model": "some/hub-model"} if kind == "sft" else {})
    (folder.model / "config.json").write_text("{}")
    (folder.model / "weights").write_text(kind)
    write_model_lineage(folder, folder.model)


def file(command: str, schema: type[Settings], name: str, *words: str) -> None:
    Path(name).write_text(command)
    write_sidecar(name, command, load_settings(schema, None, [*words, f"out={name}"]))


def chain() -> None:
    Path("demos.jsonl").write_text("demonstrations")
    Path("prompts.jsonl").write_text("prompts")
    run("sft", SftSettings, "model.path=some/hub-model", "data.source=demos.jsonl")
    file("sample", SampleSettings, "answers.jsonl", "model=runs/sft", "prompts.source=prompts.jsonl?limit=3")
    file("simulate", SimulateSettings, "labels.jsonl", "data.source=answers.jsonl")
    run("reward", RewardSettings, "model.path=runs/sft", "data.source=labels.jsonl")
    run("ppo", PpoSettings, "model.path=runs/sft", "prompts.source=prompts.jsonl", "scorer.path=runs/reward")


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    chain()
    return tmp_path


def tree(ancestors: tuple[Ancestor, ...]) -> dict[str, object]:
    return {
        f"{one.setting} {one.kind} {one.standing}": "above" if one.again else tree(one.parents) for one in ancestors
    }


SFT = {"data.source  there": {}, "model  named": {}}
LABELS = {"data.source sample there": {"model sft there": "above", "prompts.source  there": {}}}


def test_the_walk_up_ends_at_data_and_at_models_from_elsewhere(place):
    assert tree(ancestors_of(Path("runs/ppo"))) == {
        "model.path sft there": SFT,
        "prompts.source  there": {},
        "scorer.path reward there": {"model.path sft there": "above", "data.source simulate there": LABELS},
    }


def used(found: tuple[Descendant, ...]) -> dict[str, Any]:
    return {f"{one.path} {one.setting}": "above" if one.again else used(one.children) for one in found}


def test_the_walk_down_finds_what_was_made_from_it(place):
    reward = {"runs/reward data.source": {"runs/ppo scorer.path": {}}}
    assert used(descendants_of(Path("labels.jsonl"), Path())) == reward
    found = used(descendants_of(Path("demos.jsonl"), Path()))
    assert [*found] == ["runs/sft data.source"]
    assert {*found["runs/sft data.source"]} == {
        *("answers.jsonl model", "runs/ppo model.path", "runs/reward model.path"),
    }
    assert descendants_of(Path("runs/ppo"), Path()) == ()


def test_a_changed_input_and_one_that_is_gone_are_said(place):
    Path("demos.jsonl").write_text("others")
    assert "data.source  changed" in tree(ancestors_of(Path("runs/sft")))
    Path("labels.jsonl").unlink()
    found = ancestors_of(Path("runs/reward"))
    labels = next(one for one in found if one.setting == "data.source")
    assert labels.standing == "gone"
    # the model's own record tells what they were made from
    assert labels.kind == "simulate"
    assert labels.parents[0].kind == "sample"


def test_a_model_carries_its_lineage_with_it(place, tmp_path):
    moved = shutil.copytree("runs/ppo/model", tmp_path / "elsewhere" / "policy")
    shutil.rmtree("runs")
    found = ancestors_of(moved)
    assert [(one.setting, one.name, one.kind) for one in found] == [
        ("model.path", "sft", "sft"),
        ("prompts.source", "prompts.jsonl", ""),
        ("scorer.path", "reward", "reward"),
    ]
    scorer = found[2]
    assert [(one.name, one.kind, one.again) for one in scorer.parents] == [
        ("sft", "sft", True),
        ("labels.jsonl", "simulate", False),
    ]


def test_the_same_run_elsewhere_has_the_same_bytes(place, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    chain()
    assert (tmp_path / "runs/ppo/model" / FILE).read_bytes() == Path("runs/ppo/model", FILE).read_bytes()
    assert content_at(tmp_path / "runs/ppo") == content_at(Path("runs/ppo"))


def test_a_run_of_an_earlier_release_is_known_by_its_stamp(place):
    (Path("runs/reward") / FILE).unlink()
    (Path("runs/reward/model") / FILE).unlink()
    content = content_at(Path("runs/sft"))
    assert content is not None
    stamp = {"kind": "reward", "parents": {"model": f"runs/sft sha256:{content[:32]}", "other": "a-function"}}
    Path("runs/reward/stamp.json").write_text(json.dumps(stamp))
    assert tree(ancestors_of(Path("runs/reward"))) == {"model sft there": SFT, "other  named": {}}


def test_a_file_in_a_run_stands_for_the_run(place):
    Path("runs/ppo/samples.jsonl").write_text("x")
    assert artefact_named("runs/ppo/samples.jsonl") == Path("runs/ppo")
    assert artefact_named("answers.jsonl?limit=3") == Path("answers.jsonl")
    with pytest.raises(UsageError, match="there is no file and no folder 'nowhere'"):
        artefact_named("nowhere")


def test_two_artefacts_of_the_same_content_are_told_apart(place):
    """As labels that all passed a gate: the same bytes under another name."""
    shutil.copy("labels.jsonl", "passed.jsonl")
    settings = load_settings(GateSettings, None, ["data.source=labels.jsonl", "out=passed.jsonl"])
    write_sidecar("passed.jsonl", "gate", settings)
    run("reward", RewardSettings, "model.path=runs/sft", "data.source=passed.jsonl", name="second")
    for name in ("passed.jsonl", "labels.jsonl"):
        Path(name).unlink()
        sidecar_of(Path(name)).unlink()
    found = next(one for one in ancestors_of(Path("runs/second")) if one.setting == "data.source")
    kinds = [found.kind, found.parents[0].kind, found.parents[0].parents[0].kind]
    assert kinds == ["gate", "simulate", "sample"]


def test_a_damaged_record_is_a_message_and_no_reason_to_lose_a_model(place):
    sidecar_of(Path("answers.jsonl")).write_text("[]")
    with pytest.raises(DataError, match=r"answers.jsonl.lineage cannot be read as a lineage"):
        made_at(Path("answers.jsonl"))
    write_model_lineage(RunFolder(Path("runs/reward")), Path("runs/reward/model"))


def test_the_command_shows_both_ways(place, capsys):
    assert call(["lineage", "labels.jsonl"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("made from:") < shown.index("data.source: answers.jsonl (sample, ") < shown.index("used for:")
    assert "runs/reward (reward, its data.source)" in shown
    assert call(["lineage", "show", "runs/ppo", "--under", "runs", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["content"] == content_at(Path("runs/ppo"))
    assert [one["setting"] for one in found["ancestors"]] == ["model.path", "prompts.source", "scorer.path"]
    assert call(["lineage", "demos.jsonl"]) == 0
    assert "nothing is recorded of what it was made from" in capsys.readouterr().out
    assert call(["lineage", "nowhere"]) == 2


def test_rows_of_the_embedded_example_are_others_for_another_query():
    some, same, more, model = map(
        content_named, ("harbour:prompts?count=3", "harbour:prompts?count=3", "harbour:prompts?count=4", "harbour:base")
    )
    assert some == same
    assert len({some, more, model}) == 3


def test_converted_and_split_data_know_what_they_were_made_from(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"Question {n}?", "chosen": f"Good {n}", "rejected": f"Bad {n}"} for n in range(20)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert call(["data", "convert", "pairs.jsonl", "native.jsonl"]) == 0
    assert call(["data", "split", "native.jsonl", "parts", "--shares", "0.5,0.5"]) == 0
    capsys.readouterr()
    parts = sorted(Path("parts").glob("*.jsonl"))
    assert len(parts) == 2
    for part in parts:
        assert call(["lineage", str(part), "--json"]) == 0
        (native,) = json.loads(capsys.readouterr().out)["ancestors"]
        assert (native["name"], native["kind"]) == ("native.jsonl", "data convert")
        assert [one["name"] for one in native["parents"]] == ["pairs.jsonl"]
    made = made_at(parts[0])
    assert made is not None
    assert made.settings["shares"] == "0.5,0.5"

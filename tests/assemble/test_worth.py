"""`steersman worth` on real runs: annotators, single labels, disagreements, a learning curve; resumed, and refused."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from commandline import call
from plainly import judged, write_rows
from shown import ROOT, shown

from steersman.assemble.report import write_report
from steersman.assemble.reward.run import run_reward
from steersman.assemble.worth.run import run_worth
from steersman.assemble.worth.trained import read_trained
from steersman.errors import DataError, Preempted, UsageError
from steersman.settings.base import load_settings
from steersman.settings.reward import RewardSettings
from steersman.settings.worth import WorthSettings

pytestmark = pytest.mark.slow

QUICK = ["curve.parts=[0.25,0.5]", "curve.repeats=1", "resamples=100", "device=cpu"]


def rows_of(count: int, seed: int) -> list[dict]:
    """Judgements of three people; the third says the opposite."""
    rows = judged(count, seed, noise=0.0)
    for i, row in enumerate(rows):
        row["annotator"] = f"person-{i % 3 + 1}"
        if i % 3 == 2:
            row["preference"] = 1.0 - row["preference"]
    return rows


def trained(tiny, place: Path, *more: str) -> Path:
    words = [f"model.path={tiny('llama')}", f"data.source={place / 'labels.jsonl'}", f"run.out={place / 'reward'}"]
    words += ["run.device=cpu", "run.threads=1", "train.kernels=default", "train.batch_size=8", "train.steps=24"]
    words += ["train.keep=last", "data.held_out=0.3", "optimiser.learning_rate=3e-3", "train.evaluate_every=1000"]
    run_reward(load_settings(RewardSettings, None, [*words, *more]), quiet=True)
    return place / "reward"


@pytest.fixture(scope="module")
def reward(tiny, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("worth")
    write_rows(place / "labels.jsonl", rows_of(240, 1))
    return trained(tiny, place)


@pytest.fixture
def run(reward, tmp_path) -> Path:
    """A copy of the run, which a test may write into."""
    return Path(shutil.copytree(reward, tmp_path / "reward"))


def worth(run: Path, *words: str):
    return run_worth(load_settings(WorthSettings, None, [f"run={run}", *QUICK, *words]), quiet=True)


def test_the_command_tells_what_the_labels_are_worth_and_the_report_has_it(run, capsys, tmp_path):
    assert call(["worth", str(run), *QUICK, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    kept = json.loads((run / "worth" / "worth.json").read_text())
    assert kept == {key: value for key, value in found.items() if key != "out"}
    groups = found["groups"]["annotator"]
    assert {one["name"] for one in groups} == {"person-1", "person-2", "person-3"}
    assert groups[-1]["name"] == "person-3"
    assert groups[-1]["verdict"] == "hurts"
    assert sum(one["labels"] for one in groups) == found["labels"]
    labels = [json.loads(line) for line in (run / "worth" / "labels.jsonl").read_text().splitlines()]
    assert len(labels) == found["labels"]
    assert found["worst"][0]["worth"] == min(one["worth"] for one in labels)
    assert [point["models"] for point in found["curve"]["points"]] == [1, 1, 1]
    assert found["curve"]["points"][-1]["labels"] == found["labels"]
    assert not (run / "worth" / "models").exists()
    done = write_report([str(run)], out=str(tmp_path / "page.html"), microscope=0)
    assert "What the labels are worth" in done.sections
    page = (tmp_path / "page.html").read_text()
    for words in ("person-3", "hurts", "Held-out accuracy by the number of labels", found["worst"][0]["better"]):
        assert words in page, words
    (run / "worth" / "worth.json").write_text("{}")
    write_report([str(run)], out=str(tmp_path / "page.html"), microscope=0)
    assert "worth/worth.json cannot be read (KeyError" in (tmp_path / "page.html").read_text()


def test_the_commands_of_the_page_run(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    run.rename(tmp_path / "runs" / "reward")
    lines = [shlex.split(line)[1:] for line in shown(ROOT / "docs" / "label-worth.md")]
    assert [words[0] for words in lines] == ["worth", "report", "worth"]
    for words in lines:
        assert call([*words, *(QUICK if words[0] == "worth" else ["--microscope", "0"])]) == 0, words
    assert (tmp_path / "worth-by-training" / "worth.json").is_file()
    assert "Accuracy by the number of labels:" in capsys.readouterr().out


def test_without_a_curve_it_is_said_in_words(run, capsys):
    assert call(["worth", str(run), "curve.repeats=0", "resamples=100", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "What the labels of each annotator are worth" in shown
    assert "No learning curve was measured." in shown
    assert f"written to {run / 'worth'}" in shown


def test_training_without_each_gives_the_same_verdict(run):
    found = worth(run, "curve.repeats=0", "retrain=true").worth.groups["annotator"]
    assert {one.measured for one in found} == {"training without them"}
    assert found[-1].name == "person-3"


def test_sources_are_told_apart_and_a_stopped_one_goes_on(tiny, tmp_path, monkeypatch):
    rows = rows_of(120, 2)
    write_rows(tmp_path / "labels.jsonl", rows[:60])
    write_rows(tmp_path / "more.jsonl", rows[60:])
    more = [f'data.more=["{tmp_path / "more.jsonl"}"]', "data.source_weights=[1.0,0.5]", "train.steps=4"]
    run = trained(tiny, tmp_path, *more)
    import steersman.assemble.worth.retrained as retrained

    real, names = retrained.run_reward, []

    def stopping(settings: RewardSettings, **how: object):
        names.append(Path(settings.run.out).name)
        if len(names) == 2:
            raise KeyboardInterrupt
        return real(settings, **how)

    monkeypatch.setattr(retrained, "run_reward", stopping)
    with pytest.raises(KeyboardInterrupt):
        worth(run)
    assert (run / "worth" / "models" / "part-0.25-1" / "model").is_dir()
    found = worth(run).worth
    assert names == ["part-0.25-1", "part-0.5-1", "part-0.25-1", "part-0.5-1"]
    assert {one.name for one in found.groups["source"]} == {
        str(tmp_path / "labels.jsonl"),
        str(tmp_path / "more.jsonl"),
    }


def test_a_stop_while_it_trains_ends_with_75(run, monkeypatch):
    import steersman.assemble.worth.retrained as retrained

    real = retrained.run_reward
    monkeypatch.setattr(retrained, "run_reward", lambda *a, **how: replace(real(*a, **how), ending="stopped"))
    with pytest.raises(Preempted, match=r"stopped while it trained .*part-0.25-1; the same command goes on"):
        worth(run)


def test_an_ensemble_is_looked_at_as_one(tiny, tmp_path):
    write_rows(tmp_path / "labels.jsonl", rows_of(60, 3))
    run = trained(tiny, tmp_path, "members=2", "train.steps=2")
    found = worth(run, "curve.repeats=0").worth
    assert (found.held_out, found.groups) == (18, {})
    assert found.notes == (
        "Too few labels of others are held out to say what those of person-1, person-2, person-3 are worth.",
    )


def test_what_cannot_be_measured_is_a_message(run, reward, tiny, tmp_path):
    with pytest.raises(UsageError, match="is no run's folder; expected that of a reward model"):
        read_trained(str(tmp_path))
    worth(run, "curve.repeats=0")
    with pytest.raises(UsageError, match="exists already"):
        worth(run)
    recipe = run / "recipe.toml"
    kept = recipe.read_text()
    recipe.write_text(kept.replace("process = false", "process = true"))
    with pytest.raises(UsageError, match="is a process reward model, which learned from judged steps"):
        worth(run, "force=true")
    recipe.write_text(kept)
    stamp = run / "stamp.json"
    stamp.write_text(stamp.read_text().replace('"kind": "reward"', '"kind": "ppo"'))
    with pytest.raises(UsageError, match="is a run of 'ppo'; expected that of a reward model"):
        worth(run, "force=true")
    write_rows(tmp_path / "labels.jsonl", rows_of(40, 4))
    none = trained(tiny, tmp_path, "data.held_out=0", "train.steps=1", f"run.out={tmp_path / 'none'}").parent / "none"
    with pytest.raises(DataError, match=r"no held-out label compares two answers; .*data.held_out=0.1"):
        worth(none)
    write_rows(tmp_path / "labels.jsonl", rows_of(41, 4))
    with pytest.raises(DataError, match="learned from other train data than are there now"):
        worth(none)

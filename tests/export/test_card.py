"""The model card says what the run's stamp, lineage and evaluation say, and nothing of this machine or of a person."""

import json
from pathlib import Path
from typing import Any

import pytest
from commandline import call

from steersman.errors import UsageError
from steersman.export.card import CardOptions, model_card
from steersman.export.card_data import licence_of, licence_said
from steersman.export.card_results import watch_lines
from steersman.export.compare import Difference
from steersman.export.hub import check_card
from steersman.export.private import annotators_of, named, without_names, without_paths
from steersman.runs.folder import RunFolder

SAME = Difference(1e-6, 80, "log-probs")
CPU = ["run.device=cpu", "run.threads=1"]
HASTE = [*CPU, "train.steps=2", "train.batch_size=4", "train.kernels=default", "data.limit=40"]
# among 80 judgements are some of one pair by two people
MORE = [*HASTE, "data.limit=80"]
PPO = [
    *(
        *CPU,
        "prompts.source=harbour:prompts",
        "sampling.max_new_tokens=6",
        "prompts.limit=8",
        "iterations=1",
        "prompts_per_iteration=4",
    ),
    *("evaluation.prompts=2", "evaluation.every=1", "update.minibatches=1"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A small loop on Harbour, in a folder whose name must not be in a card."""
    place = tmp_path_factory.mktemp("private-place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        evaluated = ["--prompts", "harbour:prompts/heldout?count=6", "--scorer", "runs/reward", *CPU]
        for words in (
            ["sft", "--model", "harbour:base", "--data", "harbour:demonstrations", "--out", "runs/sft", *HASTE],
            ["reward", "--model", "runs/sft", "--data", "harbour:comparisons", "--out", "runs/reward", *MORE],
            ["ppo", "--model", "runs/sft", "--scorer", "runs/reward", "--out", str(place / "runs" / "ppo"), *PPO],
            ["evaluate", "--model", "before=runs/sft", "--model", "after=runs/ppo", "--out", "runs/eval", *evaluated],
        ):
            assert call(words) == 0, words
    return place


@pytest.fixture
def runs(made, monkeypatch) -> Path:
    monkeypatch.chdir(made)
    return made / "runs"


def section(card: str, title: str) -> str:
    return card.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.slow
def test_a_card_has_every_table_and_no_place_of_this_machine(runs, tmp_path):
    card = model_card(str(runs / "ppo"), "language", SAME, ["from /home/me/x"], CardOptions("apache-2.0"))
    table = section(card, "Before and after")
    results = json.loads((runs / "eval" / "results.json").read_text())
    assert "6 prompts of `harbour:prompts/heldout?count=6`" in table
    assert "| measure | before: before | this model: after | change |" in table
    score = next(one for one in results["figures"] if one["group"] == "score" and one["model"] == "after")
    value = score["value"]
    assert f"{value['estimate']:.2f} ({value['low']:.2f} to {value['high']:.2f})" in table
    assert "preferred to before by reward" in table
    assert "`harbour:comparisons` | apache-2.0" in section(card, "Data")
    assert "agreement of two people" in section(card, "Judgements and agreement")
    assert "No findings. Measured were:" in section(card, "What the watch said")
    assert "not evaluated" not in section(card, "Known limits")
    assert "steersman ppo recipe.toml" in section(card, "How to reproduce it")
    assert "It started from `harbour:base`." in card
    for private in (str(runs.parent), "private-place", "/home/me", str(Path.home()) + "/"):
        assert private not in card
    (tmp_path / "README.md").write_text(card)
    check_card(tmp_path / "README.md")
    # a model of this machine is no model of the hub
    assert "base_model" not in card.partition("\n---\n")[0]


@pytest.mark.slow
def test_the_metadata_is_read_back_by_the_hubs_own_classes(runs):
    from huggingface_hub import ModelCard

    card = model_card(str(runs / "ppo"), "language", SAME, [], CardOptions("apache-2.0"))
    data: Any = ModelCard(card).data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "transformers", "text-generation")
    assert data.eval_results is not None
    assert [one.metric_type for one in data.eval_results] == ["reward"]
    reward = model_card(str(runs / "reward"), "reward", SAME, [], CardOptions("Our own"))
    data = ModelCard(reward).data
    assert (data.license, data.pipeline_tag) == ("other", "text-classification")
    assert data.to_dict()["license_name"] == "Our own"


@pytest.mark.slow
def test_an_evaluation_of_another_model_is_refused(runs):
    with pytest.raises(UsageError, match="did not evaluate"):
        model_card(str(runs / "reward"), "reward", SAME, [], CardOptions(evaluation=runs / "eval"))
    with pytest.raises(UsageError, match="is no evaluation"):
        model_card(str(runs / "ppo"), "language", SAME, [], CardOptions(evaluation=runs / "sft"))
    own = model_card(str(runs / "sft"), "language", SAME, [], CardOptions(evaluation=runs / "eval"))
    assert "| measure | this model: before | change |" in own


@pytest.mark.slow
def test_without_an_evaluation_the_runs_own_numbers_stand_there(runs, tmp_path, monkeypatch):
    (runs / "eval").rename(tmp_path / "eval")
    try:
        card = model_card(str(runs / "ppo"), "language", SAME, [], CardOptions())
    finally:
        (tmp_path / "eval").rename(runs / "eval")
    assert "they have no intervals" in section(card, "Before and after")
    assert "It was not evaluated against its base with intervals." in card


def test_findings_are_told_without_prompts_and_answers(tmp_path):
    finding = {
        "step": 7,
        "detector": "length",
        "verdict": "answers grew to 2.1 times their length",
        "action": "warn",
        "evidence": [{"prompt": "My secret question", "answer": "x"}],
    }
    (tmp_path / "watch.jsonl").write_text(json.dumps(finding) + "\nnot json\n")
    told = "\n".join(watch_lines(RunFolder(tmp_path)))
    assert "| 7 | length | answers grew to 2.1 times their length | warn |" in told
    assert "secret" not in told


def test_annotators_become_numbers():
    recipe = {"data": {"weights": {"people": 1.0, "Ann Smith": 0.5}}}
    quality = {
        "by_annotator": [{"group": "ben"}],
        "contributed": [{"who": "people"}, {"who": "Ann Smith"}],
        "positions": {"habits": [{"annotator": "Ann"}]},
    }
    names = annotators_of(recipe, quality)
    assert names == ("Ann Smith", "ben", "Ann")
    text = '"Ann Smith" = 0.5, ben and benefit, Ann'
    assert without_names(text, names) == '"annotator-1" = 0.5, annotator-2 and benefit, annotator-3'


def test_places_hosts_and_secrets_are_cut():
    assert named("runs/sft") == "sft"
    assert named("/home/me/data/pairs.jsonl") == "pairs.jsonl"
    assert named("Qwen/Qwen2.5-0.5B") == "Qwen/Qwen2.5-0.5B"
    assert named("harbour:prompts/heldout?count=6") == "harbour:prompts/heldout?count=6"
    assert named("studio:helpful?snapshot=3&store=/home/me/studio.db") == "studio:helpful?snapshot=3"
    assert without_paths("http://gpu-7.corp:8000/classify") == "http://HOST/classify"
    assert without_paths("https://huggingface.co/org/name") == "https://huggingface.co/org/name"


def test_licences_are_read_where_they_are_written(tmp_path):
    assert licence_of("harbour:prompts", "dataset").startswith("apache-2.0")
    assert licence_of("Anthropic/hh-rlhf", "dataset") == "mit"
    data = tmp_path / "data" / "pairs.jsonl"
    data.parent.mkdir()
    data.write_text("{}")
    assert licence_of(str(data), "dataset") == "not stated"
    (data.parent / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    assert licence_of(str(data), "dataset") == "cc-by-4.0"
    (data.parent / "pairs.jsonl.card.json").write_text('{"licence": "ours"}')
    assert licence_of(str(data), "dataset") == "ours"
    (tmp_path / "bad.md").write_text("---\nlicense: [\n---\n")
    assert licence_said(tmp_path / "bad.md") == ""

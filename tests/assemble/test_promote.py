"""The stage `promote`: what an interval and the guarded measures decide, and the folder that it leaves."""

import json
from pathlib import Path
from typing import Any

import pytest

from steersman.assemble.promote import Promotion, decide, run_promote
from steersman.errors import DataError, UsageError
from steersman.runs.model_folder import finished_model_folder
from steersman.settings.base import load_settings
from steersman.settings.round_stages import PromoteSettings


def interval(estimate: float, low: float, high: float) -> dict[str, float]:
    return {"estimate": estimate, "low": low, "high": high}


def results(low: float, *figures: dict[str, Any]) -> dict[str, Any]:
    wins = {"model": "new", "by": "taste", "rate": interval(0.6, 0.4, 0.8), "resampled": interval(0.6, low, 0.7)}
    score = figure("score", "taste", "higher", interval(0.2, low - 0.5, 0.3))
    return {"wins": [wins, {**wins, "model": "sft"}], "figures": [score, *figures]}


def figure(group: str, name: str, better: str, change: dict[str, float] | None, model: str = "new") -> dict[str, Any]:
    return {
        "group": group,
        "name": name,
        "better": better,
        "model": model,
        "value": interval(1, 1, 1),
        "change": change,
    }


def decided(found: dict[str, Any], *words: str) -> Promotion:
    given = ["candidate=c", "last=l", "evaluation=e", "out=o", "by=taste", *words]
    return decide(found, load_settings(PromoteSettings, None, given))


@pytest.mark.parametrize(("low", "promoted"), [(0.51, True), (0.5, False), (0.45, False)])
@pytest.mark.parametrize("measure", ["wins", "score"])
def test_the_whole_interval_decides(low, promoted, measure):
    found = decided(results(low), f"measure={measure}")
    assert found.promoted is promoted
    assert found.reason.startswith("promoted, because" if promoted else "kept the last policy, because the interval")
    assert found.not_measured == ("refusals/over-refusal", "knowledge/*", "toxicity/*")


def test_more_than_a_bare_gain_can_be_asked_for():
    assert decided(results(0.53), "least=0.02").promoted
    assert not decided(results(0.53), "least=0.05").promoted


@pytest.mark.parametrize(
    ("group", "name", "better", "change", "promoted"),
    [
        ("refusals", "over-refusal", "lower", interval(0.05, 0.01, 0.09), False),
        ("refusals", "over-refusal", "lower", interval(0.05, -0.01, 0.09), True),
        ("refusals", "over-refusal", "lower", interval(-0.05, -0.09, -0.01), True),
        ("knowledge", "exam right", "higher", interval(-0.05, -0.09, -0.01), False),
        ("knowledge", "exam right", "higher", interval(0.05, 0.01, 0.09), True),
        ("words", "malformed", "lower", interval(0.05, 0.01, 0.09), True),
    ],
)
def test_a_guarded_measure_that_is_worse_keeps_the_last_policy(group, name, better, change, promoted):
    found = decided(results(0.6, figure(group, name, better, change), figure(group, name, better, None, "promoted")))
    assert found.promoted is promoted
    if not promoted:
        assert f"because {group}/{name} is worse by 0.05 (0.01 at least" in found.reason
        assert "although it wins 60.0%" in found.reason
        assert decided(results(0.6, figure(group, name, better, change)), "tolerance=0.02").promoted


def test_a_person_s_decision_is_the_one_that_counts():
    found = decided(results(0.6), "decision=keep", "reason=it flatters")
    assert (found.promoted, found.reason) == (False, "kept the last policy by a person: it flatters")
    assert decided(results(0.4), "decision=promote", "reason=a trial").promoted
    with pytest.raises(UsageError, match="has no reason"):
        decided(results(0.4), "decision=promote")


def test_a_scorer_that_the_evaluation_does_not_have_is_a_message():
    with pytest.raises(UsageError, match=r"no win rates of 'new' by 'gold'; expected one of taste"):
        decided(results(0.6), "by=gold")


def policy(folder: Path, weights: str) -> Path:
    (folder / "model" / "inner").mkdir(parents=True)
    (folder / "stamp.json").write_text("{}")
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "inner" / "weights").write_text(weights)
    return folder


@pytest.mark.parametrize(("low", "weights"), [(0.6, "new"), (0.4, "old")])
def test_the_folder_has_links_to_the_policy_that_counts(tmp_path, low, weights):
    new, old = policy(tmp_path / "ppo", "new"), policy(tmp_path / "sft", "old")
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "results.json").write_text(json.dumps(results(low)))
    given = [f"candidate={new}", f"last={old}", f"evaluation={tmp_path / 'evaluation'}", "by=taste"]
    settings = load_settings(PromoteSettings, None, [*given, f"out={tmp_path / 'out'}"])
    for _ in range(2):  # what a kill has left is made again
        run_promote(settings)
    file = tmp_path / "out" / "inner" / "weights"
    assert file.read_text() == weights
    assert file.samefile((new if low > 0.5 else old) / "model" / "inner" / "weights")
    assert json.loads((tmp_path / "out" / "promotion.json").read_text())["promoted"] is (low > 0.5)
    assert finished_model_folder(tmp_path / "out") == tmp_path / "out"


def test_an_evaluation_that_has_not_finished_is_a_message(tmp_path):
    settings = load_settings(
        PromoteSettings, None, ["candidate=c", "last=l", f"evaluation={tmp_path}", f"out={tmp_path / 'out'}"]
    )
    with pytest.raises(DataError, match="expected a finished run of `steersman evaluate`"):
        run_promote(settings)
    assert not (tmp_path / "out").exists()

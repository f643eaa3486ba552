"""Checkpoints of a run as models to evaluate, and the curves made of what was found: no model is loaded."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steersman.errors import ModelError, UsageError
from steersman.evaluate.answers import Answer, MeasuredAnswer, ModelAnswers
from steersman.evaluate.checkpoints import CURVES, PICTURE, curves_of, with_checkpoints, write_curves
from steersman.evaluate.contests import WinRate
from steersman.maths.statistics import Interval
from steersman.runs.checkpoints import CheckpointStore
from steersman.settings.base import check
from steersman.settings.evaluate import EvaluateSettings


def run_folder(folder: Path, *steps: int, start: str = "base", scorer: str | None = "judge", kind: str = "ppo") -> str:
    folder.mkdir(parents=True)
    lines = [f'model = {{ path = "{start}" }}', *([] if scorer is None else [f'scorer = {{ path = "{scorer}" }}'])]
    (folder / "recipe.toml").write_text("\n".join(lines))
    (folder / "stamp.json").write_text(json.dumps({"kind": kind}))
    store = CheckpointStore(folder / "checkpoints")
    for step in steps:
        store.write(step, lambda aside: (aside / "weights").write_bytes(b"w"), {})
    return str(folder)


def asked(*runs: str, **more: Any) -> EvaluateSettings:
    usual = {"checkpoints": list(runs), "prompts": {"source": "p.jsonl"}, "run": {"out": "out"}, "resamples": 100}
    return check(EvaluateSettings, {**usual, **more})


def test_a_run_s_checkpoints_join_the_models_after_what_it_began_as(tmp_path: Path):
    run = run_folder(tmp_path / "run", 0, 5, 10)
    found = with_checkpoints(asked(run, models={"other": "elsewhere"}))
    assert found.models == {
        "start": "base",
        "step-000005": f"{run}/checkpoints/step-000005",
        "step-000010": f"{run}/checkpoints/step-000010",
        "other": "elsewhere",
    }, "the checkpoint of step 0 is the start itself"
    assert (found.baseline, found.reference) == ("start", "start")
    assert list(found.scorers) == ["proxy"]
    assert found.scorers["proxy"].path == "judge"
    assert with_checkpoints(asked(run, models={"other": "x"}, baseline="other")).baseline == "other"


def test_without_checkpoints_the_settings_stay_as_they_are():
    settings = asked(models={"a": "x"}, checkpoints=[])
    assert with_checkpoints(settings) is settings


def test_several_runs_have_their_name_before_the_step(tmp_path: Path):
    runs = [run_folder(tmp_path / name, 5) for name in ("one", "two")]
    assert list(with_checkpoints(asked(*runs)).models) == ["start", "one-step-000005", "two-step-000005"]


def test_the_scorer_that_the_run_was_optimised_for_comes_first(tmp_path: Path):
    run = run_folder(tmp_path / "run", 5)
    other, same = {"path": "other"}, {"path": "judge", "max_length": 9}
    assert list(with_checkpoints(asked(run, scorers={"gold": other})).scorers) == ["proxy", "gold"]
    given = with_checkpoints(asked(run, scorers={"gold": other, "mine": same}))
    assert list(given.scorers) == ["mine", "gold"]
    assert given.scorers["mine"].max_length == 9
    with pytest.raises(UsageError, match=r"scorers\.proxy is not what the run was optimised for \(judge\)"):
        with_checkpoints(asked(run, scorers={"proxy": other}))
    without = run_folder(tmp_path / "without", 5, scorer=None)
    assert list(with_checkpoints(asked(without, scorers={"gold": other})).scorers) == ["gold"]


def test_what_cannot_be_meant_is_refused_and_says_what_to_do(tmp_path: Path):
    run, other = run_folder(tmp_path / "run", 5), run_folder(tmp_path / "other", 5, start="another")
    with pytest.raises(UsageError, match=r"began as different models \(another, base\)"):
        with_checkpoints(asked(run, other))
    with pytest.raises(UsageError, match="reference=elsewhere: with checkpoints"):
        with_checkpoints(asked(run, reference="elsewhere"))
    assert with_checkpoints(asked(run, reference="start")).reference == "start"
    with pytest.raises(UsageError, match=r"models\.step-000005 has the name"):
        with_checkpoints(asked(run, models={"step-000005": "x"}))
    with pytest.raises(UsageError, match="there is no run"):
        with_checkpoints(asked(str(tmp_path / "nowhere")))
    empty = run_folder(tmp_path / "empty", 0)
    with pytest.raises(UsageError, match="there are none"):
        with_checkpoints(asked(empty))
    (Path(empty) / "recipe.toml").write_text("[data]\n")
    with pytest.raises(ModelError, match="names no model"):
        with_checkpoints(asked(empty))
    (Path(empty) / "recipe.toml").write_text("=")
    with pytest.raises(UsageError, match="not valid TOML"):
        with_checkpoints(asked(empty))


def answers(name: str, kl: float, rows: list[list[float]], gold: list[list[float]]) -> ModelAnswers:
    grid = [
        [
            MeasuredAnswer(Answer("a", 1, "end", 0), 0.0, 0.0, kl, 0.0, 1, {"proxy": one, "gold": other})
            for one, other in zip(p, g, strict=True)
        ]
        for p, g in zip(rows, gold, strict=True)
    ]
    return ModelAnswers(name, name, grid, [], [], [], [])


def evaluated(tmp_path: Path, *steps: int, kind: str = "ppo") -> tuple[EvaluateSettings, list[ModelAnswers]]:
    """Two prompts with three answers each. The start's proxy scores are 0, 1, 2 and 2, 3, 4: mean 1 and 3, deviation
    sqrt of the mean of (4 + 1 + 0 + 0 + 1 + 4) / 6 = sqrt(10 / 6) around 2; its gold scores are twice the proxy's."""
    proxy = [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]
    run = run_folder(tmp_path / "run", *steps, kind=kind)
    settings = with_checkpoints(asked(run, scorers={"gold": {"path": "other"}}))
    twice = [[2 * one for one in row] for row in proxy]
    models = [answers("start", 0.0, proxy, twice)]
    for number, step in enumerate(steps, start=1):
        more = [[one + number for one in row] for row in proxy]
        models.append(answers(f"step-{step:06d}", float(number**2), more, twice))
    return settings, models


def test_gains_are_counted_in_deviations_of_the_start_s_answers(tmp_path: Path):
    settings, models = evaluated(tmp_path, 5, 10)
    found = curves_of(settings, models, [])
    assert found is not None
    by = {(curve.walk, curve.measure): curve for curve in found.curves}
    assert set(by) == {("PPO", "proxy"), ("PPO", "gold"), ("best of n", "proxy"), ("best of n", "gold")}
    deviation = math.sqrt(10 / 6)
    trained = by["PPO", "proxy"].points
    assert [point.name for point in trained] == ["step-000005", "step-000010"]
    assert [point.gain.estimate for point in trained] == pytest.approx([1 / deviation, 2 / deviation])
    assert [point.kl for point in trained] == [1.0, 4.0]
    assert [point.distance for point in trained] == [1.0, 2.0]
    assert [point.gain.estimate for point in by["PPO", "gold"].points] == pytest.approx([0.0, 0.0])
    assert (found.start, found.proxy, found.prompts, found.confidence) == ("start", "proxy", 2, 0.95)


def test_the_best_of_n_answers_of_the_start_is_a_walk_beside(tmp_path: Path):
    settings, models = evaluated(tmp_path, 5)
    found = curves_of(settings, models, [])
    assert found is not None
    by = {curve.measure: curve for curve in found.curves if curve.walk == "best of n"}
    deviation = math.sqrt(10 / 6)
    # of 0, 1, 2 the best of two is (1 + 2 + 2) / 3 in the mean, 2/3 above 1; the best of three 2, 1 above; on both
    # prompts
    assert [point.name for point in by["proxy"].points] == ["best of 2", "best of 3"]
    assert [point.gain.estimate for point in by["proxy"].points] == pytest.approx([2 / 3 / deviation, 1 / deviation])
    # gold is twice the proxy and so is its deviation
    assert [point.gain.estimate for point in by["gold"].points] == pytest.approx([2 / 3 / deviation, 1 / deviation])
    # log n - (n - 1) / n
    assert [point.kl for point in by["gold"].points] == pytest.approx([math.log(2) - 1 / 2, math.log(3) - 2 / 3])


@pytest.mark.parametrize(
    ("answers_each", "sizes"), [(2, [2]), (4, [2, 3, 4]), (7, [2, 3, 4, 6, 7]), (13, [2, 3, 4, 6, 8, 12, 13])]
)
def test_best_of_n_is_asked_at_powers_of_two_and_halfway_between(tmp_path: Path, answers_each: int, sizes: list[int]):
    settings, _ = evaluated(tmp_path, 5)
    rows = [[float(i) for i in range(answers_each)]] * 2
    models = [answers("start", 0.0, rows, rows), answers("step-000005", 1.0, rows, rows)]
    found = curves_of(settings, models, [])
    assert found is not None
    names = next([p.name for p in curve.points] for curve in found.curves if curve.walk == "best of n")
    assert names == [f"best of {n}" for n in sizes]


def test_one_answer_each_has_no_best_of_n(tmp_path: Path):
    settings, _ = evaluated(tmp_path, 5)
    models = [answers(name, 1.0, [[0.0], [1.0]], [[0.0], [1.0]]) for name in ("start", "step-000005")]
    found = curves_of(settings, models, [])
    assert found is not None
    assert {curve.walk for curve in found.curves} == {"PPO"}


def test_a_start_whose_answers_are_all_alike_divides_by_no_zero(tmp_path: Path):
    settings, _ = evaluated(tmp_path, 5)
    models = [answers(name, 1.0, [[1.0], [1.0]], [[1.0], [1.0]]) for name in ("start", "step-000005")]
    found = curves_of(settings, models, [])
    assert found is not None
    assert all(np.isfinite(point.gain.estimate) for curve in found.curves for point in curve.points)


def test_wins_by_people_against_the_start_stand_at_their_distance(tmp_path: Path):
    settings, models = evaluated(tmp_path, 5, 10)
    rate = Interval(0.75, 0.6, 0.9)

    def win(model: str, baseline: str, by: str) -> WinRate:
        return WinRate(model, baseline, by, rate, None, 2, 1, 1, 0, {})

    wins = [
        win("step-000010", "start", "people"),
        win("step-000005", "start", "proxy"),
        win("step-000005", "other", "people"),
    ]
    found = curves_of(settings, models, wins)
    assert found is not None
    assert list(found.wins) == [("step-000010", 2.0, rate)]


def test_a_kl_that_came_out_below_zero_is_no_distance(tmp_path: Path):
    settings, models = evaluated(tmp_path, 5)
    for answer in models[1].answers:
        answer.kl = -0.1
    rate = Interval(0.5, 0.4, 0.6)
    found = curves_of(settings, models, [WinRate("step-000005", "start", "people", rate, None, 2, 1, 0, 1, {})])
    assert found is not None
    assert list(found.wins) == [("step-000005", 0.0, rate)]


@pytest.mark.parametrize(("kind", "name"), [("ppo", "PPO"), ("rloo", "RLOO"), ("online-dpo", "online-dpo")])
def test_a_walk_is_called_after_its_method(tmp_path: Path, kind: str, name: str):
    settings, models = evaluated(tmp_path, 5, kind=kind)
    found = curves_of(settings, models, [])
    assert found is not None
    assert found.curves[0].walk == name


def test_of_several_runs_a_walk_is_called_after_its_folder(tmp_path: Path):
    runs = [run_folder(tmp_path / name, 5) for name in ("one", "two")]
    settings = with_checkpoints(asked(*runs))
    models = [answers(name, 1.0, [[0.0], [1.0]], [[0.0], [1.0]]) for name in settings.models]
    found = curves_of(settings, models, [])
    assert found is not None
    assert [curve.walk for curve in found.curves] == ["one", "two"]


def test_no_checkpoints_or_no_scorers_are_no_curves(tmp_path: Path):
    settings, models = evaluated(tmp_path, 5)
    assert curves_of(settings.model_copy(update={"checkpoints": []}), models, []) is None
    assert curves_of(settings.model_copy(update={"scorers": {}}), models, []) is None


def test_curves_and_picture_are_written(tmp_path: Path):
    settings, models = evaluated(tmp_path, 5, 10)
    found = curves_of(settings, models, [])
    assert found is not None
    write_curves(found, tmp_path)
    assert json.loads((tmp_path / CURVES).read_text()) == json.loads(json.dumps(found.as_dict()))
    drawn = (tmp_path / PICTURE).read_text()
    assert drawn.startswith("<svg")
    assert drawn.endswith("</svg>\n")


def test_the_best_of_n_are_chosen_by_the_first_scorer_whatever_the_others_say(tmp_path: Path):
    settings, models = evaluated(tmp_path, 5)
    for answer in models[0].answers:
        answer.scores["gold"] = -answer.scores["proxy"]
    found = curves_of(settings, models, [])
    assert found is not None
    by = {curve.measure: curve.points for curve in found.curves if curve.walk == "best of n"}
    gains = [point.gain.estimate for point in by["proxy"]]
    assert min(gains) > 0
    assert [point.gain.estimate for point in by["gold"]] == pytest.approx([-gain for gain in gains])

"""The terminal's table: what stands in it, and in which words."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from steersman.evaluate.best_of import BestOf
from steersman.evaluate.contests import Rating, WinRate
from steersman.evaluate.evaluation import Evaluation
from steersman.evaluate.figures import Column, Intervals, Measure, MetricValue, figures
from steersman.evaluate.overoptimisation import GainCurve, Overoptimisation, Point
from steersman.evaluate.results_table import changes_of, number, show_results, table_of
from steersman.maths.statistics import Interval

DICE = Intervals(0.95, 200, 0)


def some_figures() -> list[MetricValue]:
    rows = np.linspace(0.2, 0.6, 40)
    score = Measure("score", "taste", "number", "higher", "")
    toxic = Measure("toxicity", "mean", "mean share", "lower", "")
    kl = Measure("distance", "KL", "nats", "", "")
    columns = [Column("old", rows), Column("new", rows + 0.25)]
    kls = figures(kl, [Column("new", rows)], "", DICE)
    return [*figures(score, columns, "old", DICE), *kls, *figures(toxic, columns, "old", DICE)]


def evaluation(found: list[MetricValue]) -> Evaluation:
    sure = Interval(0.75, 0.6, 0.9)
    return Evaluation(
        out="runs/x",
        models=("old", "new"),
        baseline="old",
        reference="old",
        prompts=40,
        answers=2,
        confidence=0.95,
        figures=found,
        wins=[WinRate("new", "old", "taste", sure, None, 40, 30, 0, 10, {})],
        ratings=[Rating("new", "taste", Interval(0.5, 0.2, 0.8), 40)],
        best_of_n=[BestOf("new", n, "taste", "taste", sure, 0.19, 40) for n in (1, 2)],
        notes=[],
    )


def test_numbers_are_said_in_their_unit():
    assert number(Interval(0.5, 0.25, 0.755), "share") == "50.0% (25.0 to 75.5)"
    assert number(Interval(-0.128, -0.15, 0.1), "mean share", sign="+") == "-12.8% (-15.0 to +10.0)"
    assert number(Interval(20.04, 19.0, 21.0), "tokens") == "20.0 (19.0 to 21.0)"
    assert number(Interval(1.234, 1.0, 2.0), "nats") == "1.23 (1.00 to 2.00)"


def test_the_whole_table_is_shown(capsys):
    show_results(evaluation(some_figures()))
    shown = capsys.readouterr().out
    for words in (
        "40 prompts, 2 answers each; 95% intervals",
        "old (baseline)",
        "wins against old",
        "75.0% (60.0 to 90.0)",
    ):
        assert words in shown
    line = next(line for line in shown.splitlines() if line.startswith("  KL"))
    assert "–" in line, "the baseline is at no distance from itself"
    assert "+0.25 (+0.25 to +0.25)" in shown
    assert "best of 2 by taste" in shown
    assert "+ 0.19 at most" in shown


def test_a_change_for_the_better_is_green_and_for_the_worse_red():
    table = changes_of(some_figures(), ["old", "new"], "old")
    console = Console(force_terminal=True, color_system="standard", width=100, highlight=False)
    with console.capture() as caught:
        console.print(table)
    score, toxic = (next(line for line in caught.get().splitlines() if name in line) for name in ("taste", "toxicity"))
    assert "\x1b[32m" in score
    assert "\x1b[31m" in toxic
    assert changes_of(some_figures(), ["old"], "old") is None


def shown(found: Evaluation, capsys, monkeypatch, *, columns: int = 40) -> list[str]:
    """The lines on a narrow terminal: the table is as wide as its models ask for all the same."""
    monkeypatch.setenv("COLUMNS", str(columns))
    show_results(found)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def by_hand() -> list[MetricValue]:
    """Three measures of two models with numbers that are easy to read."""
    taste = Measure("score", "taste", "number", "higher", "")
    mean = Measure("toxicity", "mean", "mean share", "lower", "")
    kl = Measure("distance", "KL", "nats", "", "")
    return [
        MetricValue(taste, "old", Interval(0.4, 0.3, 0.5), 40, None),
        MetricValue(taste, "new", Interval(0.65, 0.6, 0.7), 40, Interval(0.25, 0.2, 0.3)),
        MetricValue(kl, "new", Interval(2.0, 1.5, 2.5), 40, None),
        MetricValue(mean, "old", Interval(0.4, 0.3, 0.5), 40, None),
        MetricValue(mean, "new", Interval(0.45, 0.35, 0.55), 40, Interval(0.05, -0.05, 0.15)),
    ]


def test_an_evaluation_on_the_terminal_line_by_line(capsys, monkeypatch):
    # names to the left, numbers to the right, two blanks between columns and none at the edge
    assert shown(evaluation(by_hand()), capsys, monkeypatch) == [
        "runs/x: 40 prompts, 2 answers each; 95% intervals over prompts",
        "                            old (baseline)                   new",
        "score",
        "  taste                0.40 (0.30 to 0.50)   0.65 (0.60 to 0.70)",
        "distance",
        "  KL                                     –   2.00 (1.50 to 2.50)",
        "toxicity",
        "  mean                40.0% (30.0 to 50.0)  45.0% (35.0 to 55.0)",
        "wins against old",
        "  by taste                               –  75.0% (60.0 to 90.0)",
        "Bradley-Terry rating",
        "  by taste                               –   0.50 (0.20 to 0.80)",
        "change from old, paired                     new",
        "  score, taste           +0.25 (+0.20 to +0.30)",
        "  toxicity, mean          +5.0% (-5.0 to +15.0)",
        "score against KL               KL in nats                taste",
        "new                   2.00 (1.50 to 2.50)  0.65 (0.60 to 0.70)",
        "  best of 2 by taste       + 0.19 at most  0.75 (0.60 to 0.90)",
        "green: significantly better than old; red: significantly worse",
        "everything: runs/x/results.json, every answer: runs/x/answers.jsonl",
    ]


def test_one_model_has_no_baseline_and_no_colours_to_explain(capsys, monkeypatch):
    alone = replace(evaluation(by_hand()[:1]), models=("old",), wins=[], ratings=[], best_of_n=[])
    assert shown(alone, capsys, monkeypatch) == [
        "runs/x: 40 prompts, 2 answers each; 95% intervals over prompts",
        "                         old",
        "score",
        "  taste  0.40 (0.30 to 0.50)",
        # 34 + 28 are 62 columns, and this has 67
        "everything: runs/x/results.json, every answer:",
        "runs/x/answers.jsonl",
    ]


def test_best_of_n_of_a_model_that_was_not_measured_otherwise(capsys, monkeypatch):
    lone = [
        BestOf("base", n, "taste", gold, Interval(0.5, 0.4, 0.6), 0.19, 40)
        for n in (1, 2)
        for gold in ("taste", "true")
    ]
    found = replace(evaluation([]), best_of_n=lone, wins=[], ratings=[])
    assert shown(found, capsys, monkeypatch)[2:5] == [
        "score against KL          KL in nats                taste                 true",
        "base                               0                    –                    –",
        "  best of 2 by taste  + 0.19 at most  0.50 (0.40 to 0.60)  0.50 (0.40 to 0.60)",
    ]


def test_a_run_s_checkpoints_are_shown_walk_by_walk(capsys, monkeypatch):
    points = (
        Point("step 5", 1.0, 1.0, Interval(1.0, 0.5, 1.5)),
        Point("step 10", 4.0, 2.0, Interval(-2.0, -2.5, -1.5)),
    )
    ways = [
        (walk, shape, measure)
        for walk, shape in (("PPO", "trained"), ("best of n", "best of n"))
        for measure in ("reward", "taste")
    ]
    curves = tuple(
        GainCurve(walk, shape, measure, points, None, "too few points", None) for walk, shape, measure in ways
    )
    found = replace(evaluation([]), overoptimisation=Overoptimisation("start", "reward", curves, 40, 0.95))
    rows = [
        "  step 5                                1.00  +1.00 (+0.50 to +1.50)  +1.00 (+0.50 to +1.50)",
        "  step 10                               4.00  -2.00 (-2.50 to -1.50)  -2.00 (-2.50 to -1.50)",
    ]
    lines = shown(found, capsys, monkeypatch, columns=120)
    assert lines[:8] == [
        "runs/x: 40 prompts, 2 answers each; 95% intervals over prompts",
        "gain, in deviations of the start  KL in nats                  reward                   taste",
        "PPO",
        *rows,
        "best of n",
        *rows,
    ]
    said = " ".join(lines[8:])
    assert "reward, PPO: gains 1.00 (0.50 to 1.50) at a KL of 1.00, at the last model. No fit: too few points" in said
    assert said.endswith("the picture: runs/x/overoptimisation.svg, everything: runs/x/results.json")


def coloured(cell: str) -> str:
    console = Console(force_terminal=True, color_system="standard", width=100, highlight=False)
    with console.capture() as caught:
        console.print(cell)
    return "green" if "\x1b[32m" in caught.get() else "red" if "\x1b[31m" in caught.get() else ""


@pytest.mark.parametrize(
    ("low", "high", "colour"), [(0.51, 0.9, "green"), (0.5, 0.9, ""), (0.1, 0.49, "red"), (0.1, 0.5, "")]
)
def test_wins_are_coloured_where_they_are_surely_more_or_fewer_than_half(low: float, high: float, colour: str):
    win = WinRate("new", "old", "taste", Interval((low + high) / 2, low, high), None, 40, 30, 0, 10, {})
    table = table_of([], ["old", "new"], "old", [win], [])
    assert coloured(list(table.columns[2].cells)[-1]) == colour


def test_a_value_has_the_colour_of_its_change():
    table = table_of(by_hand(), ["old", "new"], "old", [], [])
    cells = list(table.columns[2].cells)
    assert [coloured(cell) for cell in cells] == ["", "green", "", "", "", ""]


def test_an_evaluation_is_kept_as_plain_values():
    found = json.loads(json.dumps(evaluation(by_hand()).as_dict(), allow_nan=False))
    assert (found["out"], found["models"], found["baseline"], found["reference"]) == (
        "runs/x",
        ["old", "new"],
        "old",
        "old",
    )
    assert (found["prompts"], found["answers"], found["confidence"], found["notes"]) == (40, 2, 0.95, [])
    assert found["overoptimisation"] is None
    first, second = found["figures"][:2]
    assert first == {
        "group": "score",
        "name": "taste",
        "unit": "number",
        "better": "higher",
        "meaning": "",
        "model": "old",
        "value": {"estimate": 0.4, "low": 0.3, "high": 0.5},
        "n": 40,
        "change": None,
        "verdict": "",
    }
    assert (second["change"], second["verdict"]) == ({"estimate": 0.25, "low": 0.2, "high": 0.3}, "better")
    sure = {"estimate": 0.75, "low": 0.6, "high": 0.9}
    assert found["wins"][0] | {"by_order": None} == {
        "model": "new",
        "baseline": "old",
        "by": "taste",
        "rate": sure,
        "resampled": None,
        "prompts": 40,
        "wins": 30,
        "ties": 0,
        "losses": 10,
        "by_order": None,
    }
    assert found["ratings"] == [
        {"model": "new", "by": "taste", "rating": {"estimate": 0.5, "low": 0.2, "high": 0.8}, "prompts": 40}
    ]
    assert found["best_of_n"][1]["score"] == sure
    ordered = replace(evaluation([]).wins[0], by_order={"first": (0.75, 4)})
    assert ordered.as_dict()["by_order"] == {"first": {"rate": 0.75, "judgements": 4}}

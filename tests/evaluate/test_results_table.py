"""The terminal's table: what stands in it, and in which words."""

import numpy as np
from rich.console import Console

from steersman.evaluate.best_of import BestOf
from steersman.evaluate.contests import Rating, WinRate
from steersman.evaluate.evaluation import Evaluation
from steersman.evaluate.figures import Column, Dice, Figure, Measure, figures
from steersman.evaluate.results_table import changes_of, number, show_results
from steersman.maths.statistics import Interval

DICE = Dice(0.95, 200, 0)


def some_figures() -> list[Figure]:
    rows = np.linspace(0.2, 0.6, 40)
    score = Measure("score", "taste", "number", "higher", "")
    toxic = Measure("toxicity", "mean", "mean share", "lower", "")
    kl = Measure("distance", "KL", "nats", "", "")
    columns = [Column("old", rows), Column("new", rows + 0.25)]
    kls = figures(kl, [Column("new", rows)], "", DICE)
    return [*figures(score, columns, "old", DICE), *kls, *figures(toxic, columns, "old", DICE)]


def evaluation(found: list[Figure]) -> Evaluation:
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

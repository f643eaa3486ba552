"""What is said of a reward model, a classifier and curves, line by line, from numbers that are written down."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from steersman.errors import DataError
from steersman.evaluate.baselines import BaselineAccuracy, Baselines
from steersman.evaluate.calibration import Calibration, Sureness
from steersman.evaluate.ceiling import HumanCeiling
from steersman.evaluate.classification import ClassifierQuality, lines_of_classifier, measure_classifier
from steersman.evaluate.position import Positions, SideHabit
from steersman.evaluate.reward_quality import Accuracy, Correlation, LengthFacts, RewardQuality
from steersman.evaluate.reward_quality_words import lines_of
from steersman.maths.statistics import Interval, ReliabilityBin

SHARE = Interval(0.625, 0.5625, 0.6875)
NONE = Correlation(math.nan, math.nan)
CURVE = (ReliabilityBin(0.5, 0.55, 0.525, 0.5, 1234), ReliabilityBin(0.95, 1.0, 0.975, 1.0, 7))


def quality(**given: Any) -> RewardQuality:
    usual = {
        "judgements": 1240,
        "ties": 0,
        "equal_scores": 0,
        "accuracy": SHARE,
        "by_grade": (),
        "by_length": (),
        "by_annotator": (),
        "calibration": Calibration(Sureness(0.6, 0.05, ()), None, None, None, 0, 0),
        "length": LengthFacts(Correlation(0.25, -0.125), NONE, NONE, None),
        "ceiling": None,
        "positions": Positions("", 0, None, ()),
        "baselines": None,
    }
    return RewardQuality(**{**usual, **given})


PLAIN = [
    "[bold]accuracy[/bold] 62.5% (56.2% to 68.8%) on 1,240 judgements",
    "[bold]people[/bold] no pair was judged by two people, so the ceiling is unknown (label with --overlap 0.1)",
    "[bold]calibration[/bold] loss 0.600 (chance: 0.693), error 0.050",
    "[bold]length[/bold] score gap against length gap: Pearson +0.25, Spearman -0.12",
    "  single scores against lengths: Pearson not defined, Spearman not defined",
    "  people's preferences against length gaps: Pearson not defined, Spearman not defined",
]


def test_a_report_of_which_nothing_more_is_known():
    assert lines_of(quality()) == PLAIN


def added(**given: Any) -> list[str]:
    """The lines that are not in the plain report."""
    return [line for line in lines_of(quality(**given)) if line not in PLAIN]


def test_ties_and_equal_scores_are_counted():
    assert added(ties=40, equal_scores=1000) == [
        "[bold]accuracy[/bold] 62.5% (56.2% to 68.8%) on 1,200 judgements; 40 ties left out",
        "  1,000 pairs have equal scores and count half",
    ]


@pytest.mark.parametrize(
    ("low", "high", "coin"), [(0.5, 0.75, True), (0.51, 0.75, False), (0.25, 0.5, True), (0.25, 0.49, False)]
)
def test_an_accuracy_that_may_be_a_coin_s_is_said_to_be(low: float, high: float, coin: bool):
    found = added(accuracy=Interval((low + high) / 2, low, high))
    assert ("  [yellow]no better than chance: the interval contains 50 %[/yellow]" in found) == coin


def test_baselines_stand_beside_the_model():
    words = BaselineAccuracy("bag of words", Interval(0.75, 0.7, 0.8), Interval(-0.125, -0.2, -0.05))
    length = BaselineAccuracy("length", Interval(0.5, 0.4, 0.6), Interval(0.125, 0.05, 0.2))
    assert added(baselines=Baselines(words, length, "9 judgements", False, "It knows less.")) == [
        "  bag of words     75.0% (70.0% to 80.0%); the model is ahead by -12.5 points (-20.0 to -5.0)",
        "  length           50.0% (40.0% to 60.0%); the model is ahead by +12.5 points (+5.0 to +20.0)",
        "  [yellow]It knows less.[/]",
        "  (both baselines learned from 9 judgements)",
    ]


def test_people_are_the_ceiling():
    assert added(
        ceiling=HumanCeiling(
            1500, 3000, SHARE, Interval(0.5, 0.25, 0.75), Interval(0.75, 0.5, 1.0), Interval(0.5, 0.25, 0.75)
        )
    ) == [
        "[bold]people[/bold] one against the others 62.5% (56.2% to 68.8%), the ceiling",
        "  the model on these 3,000 judgements of 1,500 pairs: 50.0% (25.0% to 75.0%)",
        "  two people agree: 75.0% (50.0% to 100.0%); Krippendorff's alpha +0.50 (+0.25 to +0.75)",
    ]


def test_an_agreement_that_is_not_defined_has_no_interval():
    nowhere = Interval(math.nan, math.nan, math.nan)
    found = added(ceiling=HumanCeiling(1, 2, SHARE, SHARE, SHARE, nowhere))
    assert found[-1] == "  two people agree: 62.5% (56.2% to 68.8%); Krippendorff's alpha not defined"


def test_groups_stand_under_their_title():
    group = Accuracy("ann", 1200, SHARE)
    assert added(
        by_grade=(group,), by_length=(replace(group, group="[x]"),), by_annotator=(replace(group, group=""),)
    ) == [
        "[bold]by grade (how much better people found it)[/bold]",
        "  ann              62.5% (56.2% to 68.8%) on 1,200",
        "[bold]by length (of the preferred answer compared with the other)[/bold]",
        r"  \[x]             62.5% (56.2% to 68.8%) on 1,200",
        "[bold]by annotator[/bold]",
        "  nameless         62.5% (56.2% to 68.8%) on 1,200",
    ]


@pytest.mark.parametrize(
    ("temperature", "sure"),
    [
        (1.5, "overconfident"),
        (1.0, "underconfident"),
        (0.5, "underconfident"),
        (998.0, "overconfident"),
        (999.0, "at its limit: the gaps carry no information, or have the wrong sign"),
    ],
)
def test_the_temperature_is_told_with_what_it_mends(temperature: float, sure: str):
    whole, before, after = Sureness(0.6, 0.05, CURVE), Sureness(0.7, 0.125, ()), Sureness(0.5, 0.0625, ())
    assert added(calibration=Calibration(whole, temperature, before, after, 3, 4)) == [
        f"  temperature {temperature:.3g} ({sure}): on the other half of the pairs the error goes from 0.125 to 0.062, "
        "the loss from 0.700 to 0.500",
        "  predicted  52.5%   right  50.0%   of 1,234",
        "  predicted  97.5%   right 100.0%   of 7",
    ]


@pytest.mark.parametrize(
    ("gap", "people", "warned"),
    [
        (0.31, 0.1, True),
        (0.3, 0.1, False),
        (0.6, 0.4, False),
        (0.61, 0.4, True),
        (0.61, -0.4, True),
        (0.6, -0.4, False),
    ],
)
def test_a_model_that_likes_length_more_than_people_do_is_warned_of(gap: float, people: float, warned: bool):
    facts = LengthFacts(Correlation(0.0, gap), Correlation(0.5, 0.25), Correlation(0.125, people), SHARE)
    found = added(length=facts)
    assert found[:4] == [
        f"[bold]length[/bold] score gap against length gap: Pearson +0.00, Spearman {gap:+.2f}",
        "  single scores against lengths: Pearson +0.50, Spearman +0.25",
        f"  people's preferences against length gaps: Pearson +0.12, Spearman {people:+.2f}",
        "  people prefer the longer answer 62.5% (56.2% to 68.8%)",
    ]
    assert bool(found[4:]) == warned


def test_habits_of_place_are_told():
    habits = (SideHabit("", 1000, SHARE, "second"), SideHabit("bob", 9, SHARE, ""), SideHabit("ann", 8, SHARE, "first"))
    assert added(positions=Positions("first", 0, SHARE, habits)) == [
        "[bold]positions[/bold] every decided record prefers its first answer: the file was written that way, or "
        "annotators always chose that side",
        "[bold]positions[/bold] the answer shown first was preferred 62.5% (56.2% to 68.8%)",
        "  [yellow]a nameless annotator chose the second answer in all of 1,000 judgements[/yellow]",
        "  [yellow]ann chose the first answer in all of 8 judgements[/yellow]",
    ]


def test_a_classifier_s_report_line_by_line():
    found = ClassifierQuality(1200, 1100, SHARE, 0.75, SHARE, None, SHARE, 0.875, 0.25, 0.0625, CURVE)
    assert list(lines_of_classifier(found, "toxic")) == [
        "accuracy 62.5% (56.2% to 68.8%) on 1,200 held-out texts; the larger class alone 75.0%",
        "  'toxic' (1,100 texts): F1 62.5% (56.2% to 68.8%)",
        "  precision 62.5% (56.2% to 68.8%), recall not defined",
        "  AUC 0.875, loss 0.250, calibration error 0.062",
    ]
    assert list(lines_of_classifier(replace(found, auc=None), "toxic"))[-1] == "  loss 0.250, calibration error 0.062"


def test_a_classifier_is_measured_on_two_texts_or_more():
    # even odds are the second class; a certain error stays finite: -log 1e-12 for one of two
    found = measure_classifier([0.5, 0.0], [1, 1])
    assert (found.accuracy.estimate, found.largest, found.positive) == (0.5, 1.0, 2)
    assert found.loss == pytest.approx((math.log(2) + 12 * math.log(10)) / 2)
    assert found.recall is not None
    with pytest.raises(DataError, match="2 predictions for 3"):
        measure_classifier([0.5, 0.5], [1, 0, 1])
    # called 0 of 2 right ones in the second class: F1 of nothing is 0
    assert measure_classifier([0.4, 0.4], [0, 0]).f1.estimate == 0.0


def test_a_classifier_s_interval_does_not_change_from_one_report_to_the_next():
    said, labels = np.linspace(0, 1, 40).tolist(), [int(i % 3 == 0) for i in range(40)]
    assert measure_classifier(said, labels) == measure_classifier(said, labels)


def test_one_text_of_a_class_is_enough_to_rank_it():
    # the only one of the second class is above two of the three others; the only one of the first is below one of three
    assert measure_classifier([0.1, 0.4, 0.9, 0.5], [0, 0, 0, 1]).auc == pytest.approx(2 / 3)
    assert measure_classifier([0.6, 0.4, 0.9, 0.5], [0, 1, 1, 1]).auc == pytest.approx(1 / 3)
    assert measure_classifier([0.1, 0.2], [1, 1]).auc is None

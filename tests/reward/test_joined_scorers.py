"""Ensembles and weighted sums of scorers."""

import math

import numpy as np
import pytest

from steersman.errors import UsageError
from steersman.records import Prompt
from steersman.reward.combined import CombinedScorer, WeightedScorer
from steersman.reward.ensemble import EnsembleScorer, aggregate
from steersman.reward.function import FunctionScorer
from steersman.reward.scorer import Score, SpanReward

ITEMS = [(Prompt(text="Say"), answer) for answer in ("a", "bb", "ccc")]


def times(factor, note=""):
    return FunctionScorer(lambda answer: Score(factor * len(answer), {}, note), name=f"times{factor}")


def test_an_ensemble_believes_what_it_is_told_to():
    # Answer "bb": members say 2, 4, 12: mean 6, deviations -4, -2, 6, variance (16 + 4 + 36) / 2 = 28, minimum 2.
    members = [times(1.0), times(2.0), times(6.0, "cut")]
    for belief, expected in (("mean", 6.0), ("min", 2.0), ("pessimistic", 6.0 - 0.5 * math.sqrt(28))):
        score = EnsembleScorer(members, belief=belief, pessimism=0.5).score(ITEMS)[1]
        assert score.value == pytest.approx(expected)
        assert score.parts == pytest.approx(
            {"member 1": 2.0, "member 2": 4.0, "member 3": 12.0, "mean": 6.0, "std": math.sqrt(28), "min": 2.0}
        )
        assert score.note == "cut"


def test_no_pessimism_is_the_mean_and_members_that_agree_need_none():
    values = np.random.default_rng(0).normal(size=(4, 7))
    assert aggregate(values, "pessimistic", pessimism=0.0)[0] == pytest.approx(values.mean(0))
    same = np.tile(values[0], (4, 1))
    assert aggregate(same, "pessimistic", pessimism=9.0)[0] == pytest.approx(values[0])


def test_the_order_of_members_does_not_matter():
    values = np.random.default_rng(1).normal(size=(5, 7))
    for belief in ("mean", "min", "pessimistic"):
        there, back = (
            aggregate(values, belief, pessimism=1.0)[0],
            aggregate(values[::-1].copy(), belief, pessimism=1.0)[0],
        )
        assert there == pytest.approx(back)


def test_an_ensemble_of_one_and_optimism_are_refused():
    with pytest.raises(UsageError, match="two or more"):
        EnsembleScorer([times(1.0)], belief="mean")
    with pytest.raises(UsageError, match="pessimism"):
        EnsembleScorer([times(1.0), times(2.0)], belief="pessimistic", pessimism=-1.0)


def test_a_sum_weighs_scales_and_clips_its_parts():
    spans = FunctionScorer(lambda answer: Score(-1.0, {}, "rude", (SpanReward(0, 1, 2.0),)), name="kind")
    parts = {
        "length": WeightedScorer(times(10.0), 2.0, scale=(10.0, 5.0), bounds=(-1.0, 3.0)),
        "kind": WeightedScorer(spans, 0.5),
    }
    scores = CombinedScorer(parts).score(ITEMS)
    # Lengths 10, 20, 30 -> 0, 2, 4 -> clipped 0, 2, 3 -> times 2; kind gives half of -1.
    assert [score.value for score in scores] == [-0.5, 3.5, 5.5]
    assert scores[2].parts == {"length": 30.0, "kind": -1.0}
    assert scores[0].spans == (SpanReward(0, 1, 1.0),)
    assert scores[0].note == "rude"


def test_a_sum_of_nothing_is_refused():
    with pytest.raises(UsageError, match="at least one part"):
        CombinedScorer({})


def test_no_items_give_no_scores():
    assert EnsembleScorer([times(1.0), times(2.0)], belief="min").score([]) == []
    assert CombinedScorer({"length": WeightedScorer(times(1.0), 1.0)}).score([]) == []


def test_what_is_told_ahead_goes_to_every_part_that_wants_to_know():
    class Early:
        name = "early"

        def __init__(self):
            self.told = []

        def score(self, items):
            return [Score(0.0)] * len(items)

        def ahead(self):
            return self.told.append

    first, second = Early(), Early()
    begin = CombinedScorer(
        {"a": WeightedScorer(first, 1.0), "b": WeightedScorer(times(1.0), 1.0), "c": WeightedScorer(second, 1.0)}
    ).ahead()
    begin(ITEMS)  # pyright: ignore[reportOptionalCall]
    assert first.told == second.told == [ITEMS]


def test_an_ensemble_is_not_pessimistic_unless_it_is_told_how_much():
    found = EnsembleScorer([times(1.0), times(3.0)], belief="pessimistic").score([(Prompt(text="?"), "ab")])
    assert found[0].value == found[0].parts["mean"]

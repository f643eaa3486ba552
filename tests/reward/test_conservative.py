"""An ensemble that is believed less than before: worked by hand."""

from collections.abc import Sequence

import pytest

from steersman.errors import UsageError
from steersman.records import Prompt, SpanReward
from steersman.reward.conservative import BEFORE, ConservativeScorer, is_ensemble
from steersman.reward.ensemble import EnsembleScorer
from steersman.reward.function import FunctionScorer
from steersman.reward.scorer import Item, Score

ITEMS = [(Prompt(text="?"), "one"), (Prompt(text="?"), "two")]


class Members:
    """An ensemble whose members gave the first answer 1, 2 and 6 and the second 4, 4 and 4."""

    name = "members"

    def score(self, items: Sequence[Item]) -> list[Score]:
        first = Score(9.0, {"mean": 3.0, "std": 2.0, "min": 1.0}, "said", (SpanReward(0, 1, 2.0),))
        return [first, Score(8.0, {"mean": 4.0, "std": 0.0, "min": 4.0})][: len(items)]


def values(scorer: ConservativeScorer) -> list[float]:
    return [score.value for score in scorer.score(ITEMS)]


def test_doubt_takes_so_many_deviations_from_the_mean():
    # 3 - 1.5 * 2 = 0; where all agree the mean stays
    assert values(ConservativeScorer(Members(), doubt="pessimistic", pessimism=1.5)) == [0.0, 4.0]
    assert values(ConservativeScorer(Members(), doubt="pessimistic", pessimism=0.0)) == [3.0, 4.0]


def test_the_least_of_the_members_may_count_alone():
    assert values(ConservativeScorer(Members(), doubt="min", pessimism=1.5)) == [1.0, 4.0]


def test_what_was_believed_before_stays_among_the_parts_and_note_and_spans_are_kept():
    scorer = ConservativeScorer(Members(), doubt="min", pessimism=1.0)
    (score, _), (before, _) = scorer.score(ITEMS), Members().score(ITEMS)
    assert score.parts == {"mean": 3.0, "std": 2.0, "min": 1.0, BEFORE: 9.0}
    assert (score.note, score.spans) == (before.note, before.spans)
    assert scorer.name == "members"


def test_scores_without_members_are_refused():
    alone = FunctionScorer(lambda answers, **_: [1.0] * len(answers), name="alone")
    with pytest.raises(UsageError, match=r"'alone' gave the parts"):
        ConservativeScorer(alone, doubt="min", pessimism=1.0).score(ITEMS)
    assert not is_ensemble(alone)
    assert is_ensemble(EnsembleScorer([alone, alone], belief="mean"))

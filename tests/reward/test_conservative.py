"""An ensemble that is believed less than before: worked by hand."""

from collections.abc import Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from steersman.errors import UsageError
from steersman.models.offloaded import Offloaded
from steersman.records import Prompt, SpanReward
from steersman.reward.combined import CombinedScorer, WeightedScorer
from steersman.reward.conservative import BEFORE, ConservativeScorer, is_ensemble
from steersman.reward.ensemble import EnsembleScorer
from steersman.reward.function import FunctionScorer
from steersman.reward.length import LengthControlledScorer, Trend
from steersman.reward.offloaded import OffloadedScorer, models_of
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


class OnDevice(Offloaded):
    """Remembers when its tensors were on the device."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__(list, torch.device("cpu"), frozen=True)
        self.seen = seen

    @contextmanager
    def on_device(self):
        self.seen.append("come")
        yield
        self.seen.append("go")


class Early:
    """A scorer with a model, which can begin ahead."""

    name = "early"

    def __init__(self, seen: list[str]) -> None:
        self.seen, self.model = seen, nn.Linear(1, 1)

    def score(self, items: Sequence[Item]) -> list[Score]:
        self.seen.append("score")
        return [Score(1.0)] * len(items)

    def ahead(self):
        return lambda items: self.seen.append("begin")

    def models(self) -> list[nn.Module]:
        return [self.model]


def test_a_scorer_s_models_are_on_the_device_while_it_scores_and_only_then():
    seen: list[str] = []
    scorer = OffloadedScorer(Early(seen), OnDevice(seen))
    assert scorer.score(ITEMS) == [Score(1.0)] * 2
    begin = scorer.ahead()
    assert begin is not None
    begin(ITEMS)
    assert seen == ["come", "score", "go", "begin"]
    assert scorer.name == "early"


def test_the_models_of_scorers_are_those_of_all_their_parts():
    early, plain = Early([]), FunctionScorer(lambda answers, **_: [1.0] * len(answers), name="plain")
    assert models_of(early, plain) == [early.model]
    assert EnsembleScorer([early, plain, early], belief="mean").models() == [early.model] * 2
    assert CombinedScorer({"a": WeightedScorer(plain, 1.0), "b": WeightedScorer(early, 1.0)}).models() == [early.model]
    assert LengthControlledScorer(early, Trend(0.0, 1.0, 0.0)).models() == [early.model]

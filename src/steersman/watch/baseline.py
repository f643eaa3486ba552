"""Statistics of the reference's own answers, the baseline of the watch.

Before the first update the policy *is* the reference, so the first iteration's answers are the reference's, at no extra
cost.
"""

from dataclasses import asdict, dataclass, replace
from statistics import fmean, pstdev
from typing import Any

from steersman.evaluate.sameness import commonest_opening, distinct_shares, opening
from steersman.evaluate.wording import self_repetition
from steersman.watch.latent import Usual
from steersman.watch.phrases import Vocabulary, counted
from steersman.watch.records import IterationAnswers


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of a score over the reference's answers."""

    mean: float
    deviation: float

    def gain(self, value: float) -> float:
        """The difference of a mean from the baseline's, in the baseline's standard deviations."""
        return (value - self.mean) / self.deviation if self.deviation > 0 else 0.0

    @staticmethod
    def of(values: list[float]) -> "Spread":
        return Spread(fmean(values), pstdev(values))


@dataclass(frozen=True, slots=True)
class Baseline:
    """Statistics of the reference's answers. None: no held-out scorer, no features. `disagreement` 0: no ensemble."""

    answers: int
    score: Spread
    held_out: Spread | None
    disagreement: float
    length: float
    entropy: float
    repetition: float
    vocabulary: Vocabulary
    phrases: dict[str, int]
    usual: Usual | None
    distinct: float | None = None
    """Distinct answers over prompts. None for this and `opening`: a run that began before they were measured."""
    opening: float | None = None
    """The share of the answers with the commonest opening."""

    def facts(self) -> dict[str, Any]:
        usual = None if self.usual is None else self.usual.facts()
        vocabulary = {"pairs": list(self.vocabulary.pairs), "usual": self.vocabulary.usual}
        return {**asdict(replace(self, usual=None)), "vocabulary": vocabulary, "usual": usual}

    @staticmethod
    def from_facts(facts: dict[str, Any]) -> "Baseline":
        return Baseline(
            **{
                **facts,
                "score": Spread(**facts["score"]),
                "vocabulary": Vocabulary(dict.fromkeys(facts["vocabulary"]["pairs"]), facts["vocabulary"]["usual"]),
                "held_out": None if facts["held_out"] is None else Spread(**facts["held_out"]),
                "usual": None if facts["usual"] is None else Usual.from_facts(facts["usual"]),
            }
        )


def baseline(current: IterationAnswers, usual: Usual | None) -> Baseline:
    answers = current.answers
    texts = [answer.text for answer in answers]
    common = commonest_opening(texts)
    deviations = [answer.parts["std"] for answer in answers if "std" in answer.parts]
    return Baseline(
        len(answers),
        Spread.of([answer.score for answer in answers]),
        Spread.of(list(current.held_out.values())) if current.held_out else None,
        fmean(deviations) if deviations else 0.0,
        fmean(answer.tokens for answer in answers),
        fmean(answer.entropy for answer in answers),
        fmean(self_repetition(text) for text in texts),
        Vocabulary.of(texts),
        counted(texts),
        usual,
        fmean(distinct_shares([answer.prompt.id for answer in answers], texts)),
        fmean(opening(text) == common for text in texts),
    )

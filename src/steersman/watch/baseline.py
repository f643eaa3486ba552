"""What the reference's own answers are like: before the first update the policy *is* the reference, so the first iteration's answers
are its own, and cost nothing extra."""

from dataclasses import asdict, dataclass, replace
from statistics import fmean, pstdev
from typing import Any

from steersman.evaluate.wording import self_repetition
from steersman.watch.latent import Usual
from steersman.watch.phrases import Vocabulary, counted
from steersman.watch.records import IterationAnswers


@dataclass(frozen=True, slots=True)
class Spread:
    mean: float
    deviation: float

    def gain(self, value: float) -> float:
        """A mean in deviations from the baseline's."""
        return (value - self.mean) / self.deviation if self.deviation > 0 else 0.0

    @staticmethod
    def of(values: list[float]) -> "Spread":
        return Spread(fmean(values), pstdev(values))


@dataclass(frozen=True, slots=True)
class Baseline:
    """`held_out` and `usual` None: no second scorer, no features. `disagreement` 0: no ensemble."""

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


def baseline(glance: IterationAnswers, usual: Usual | None) -> Baseline:
    answers = glance.answers
    texts = [one.text for one in answers]
    apart = [one.parts["std"] for one in answers if "std" in one.parts]
    return Baseline(
        len(answers),
        Spread.of([one.score for one in answers]),
        Spread.of(list(glance.held_out.values())) if glance.held_out else None,
        fmean(apart) if apart else 0.0,
        fmean(one.tokens for one in answers),
        fmean(one.entropy for one in answers),
        fmean(self_repetition(text) for text in texts),
        Vocabulary.of(texts),
        counted(texts),
        usual,
    )

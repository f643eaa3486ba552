"""The result of `evaluate`: figures, win rates, ratings and best-of-n estimates, as stored in results.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steersman.evaluate.best_of import BestOf
from steersman.evaluate.contests import Rating, WinRate
from steersman.evaluate.figures import MetricValue
from steersman.evaluate.overoptimisation import Overoptimisation


@dataclass(frozen=True)
class Evaluation:
    """All results, by model and measure."""

    out: str
    models: tuple[str, ...]
    baseline: str
    reference: str | None
    prompts: int
    answers: int
    confidence: float
    figures: Sequence[MetricValue]
    wins: Sequence[WinRate]
    ratings: Sequence[Rating]
    best_of_n: Sequence[BestOf]
    notes: Sequence[str]
    overoptimisation: Overoptimisation | None = None

    def as_dict(self) -> dict[str, Any]:
        lists = {"figures": self.figures, "wins": self.wins, "ratings": self.ratings, "best_of_n": self.best_of_n}
        return {
            "out": self.out,
            "models": list(self.models),
            "baseline": self.baseline,
            "reference": self.reference,
            "prompts": self.prompts,
            "answers": self.answers,
            "confidence": self.confidence,
            **{name: [each.as_dict() for each in found] for name, found in lists.items()},
            "notes": list(self.notes),
            "overoptimisation": None if self.overoptimisation is None else self.overoptimisation.as_dict(),
        }

"""Answers become short and the same for every prompt: the policy has found a short answer that the scorer rewards.

What is left of the reference's variety is a product of three shares, each at most 1: length, distinct answers over
prompts, and answers without the commonest opening. So a collapse is noticed while each alone still looks harmless.
"""

from dataclasses import dataclass
from statistics import fmean

from steersman.evaluate.sameness import commonest_opening, distinct_shares, opening
from steersman.watch.detectors.detector import Detector, DetectorInput, mean, per_cent


@dataclass(frozen=True, slots=True)
class Left:
    """Shares of the reference's that are left, each at most 1, and the commonest opening with its share."""

    length: float
    distinct: float
    other_openings: float
    words: str
    share: float


def left(inputs: DetectorInput) -> Left | None:
    """None if the baseline does not have these numbers, or all its answers begin alike."""
    known, answers = inputs.baseline, inputs.current.answers
    if known.distinct is None or known.opening is None or known.opening >= 1:
        return None
    texts = [answer.text for answer in answers]
    words = commonest_opening(texts)
    share = fmean(opening(text) == words for text in texts)
    return Left(
        min(1.0, mean(inputs, lambda i: answers[i].tokens) / known.length),
        min(1.0, fmean(distinct_shares([answer.prompt.id for answer in answers], texts)) / known.distinct),
        min(1.0, (1 - share) / (1 - known.opening)),
        words,
        share,
    )


def measure(inputs: DetectorInput) -> float | None:
    found = left(inputs)
    return None if found is None else found.length * found.distinct * found.other_openings


def evidence_scores(inputs: DetectorInput) -> list[float]:
    """Answers that many prompts share, and among them the shortest."""
    answers = inputs.current.answers
    shares = distinct_shares([answer.prompt.id for answer in answers], [answer.text for answer in answers])
    return [1 / share + 1 / (1 + answer.tokens) for share, answer in zip(shares, answers, strict=True)]


def verdict(inputs: DetectorInput, value: float) -> str:
    found = left(inputs)
    assert found is not None
    return (
        f"{per_cent(value)} of the reference's variety is left: answers are {per_cent(found.length)} as long, "
        f"{per_cent(found.distinct)} as distinct between prompts, and {per_cent(found.share)} begin with "
        f"“{found.words}”. The scorer rewards a short answer whatever the prompt: set scorer.length_controlled=true, "
        "raise kl.coefficient, or have such answers judged (recipe: ppo-short-answers)"
    )


COLLAPSE = Detector("collapse", "below", measure, evidence_scores, verdict)

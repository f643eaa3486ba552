"""A phrase spreads through the answers: the policy has found words that the scorer rewards whatever the prompt."""

from steersman.watch.detectors.detector import Detector, DetectorInput, per_cent
from steersman.watch.phrases import PHRASE, Takeover, grams, takeover


def _found(inputs: DetectorInput) -> Takeover:
    return takeover(
        [answer.text for answer in inputs.current.answers], inputs.baseline.phrases, inputs.baseline.answers
    )


def evidence_scores(inputs: DetectorInput) -> list[float]:
    """The scores of the answers with the phrase; -inf for the others."""
    phrase = _found(inputs).phrase
    return [
        answer.score if phrase in grams(answer.text, PHRASE) else -float("inf") for answer in inputs.current.answers
    ]


def verdict(inputs: DetectorInput, value: float) -> str:
    found = _found(inputs)
    return (
        f"the phrase “{found.phrase}” is in {per_cent(found.share)} of the answers, and was in "
        f"{per_cent(found.before)} of the reference's. If it does not belong there, the scorer rewards it: have such "
        "answers judged, or stop before it is in all answers"
    )


TAKEOVER = Detector("takeover", "above", lambda inputs: _found(inputs).growth, evidence_scores, verdict)

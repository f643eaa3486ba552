"""One phrase spreads through the answers: the policy has found words that the scorer pays for whatever was asked."""

from steersman.watch.detectors.detector import Detector, DetectorInput, per_cent
from steersman.watch.phrases import PHRASE, Takeover, grams, takeover


def _found(scene: DetectorInput) -> Takeover:
    return takeover([one.text for one in scene.glance.answers], scene.baseline.phrases, scene.baseline.answers)


def speaks(scene: DetectorInput) -> list[float]:
    """Of the answers with the phrase, those that the scorer likes best."""
    phrase = _found(scene).phrase
    return [one.score if phrase in grams(one.text, PHRASE) else -float("inf") for one in scene.glance.answers]


def verdict(scene: DetectorInput, value: float) -> str:
    found = _found(scene)
    return (
        f"the words “{found.phrase}” are in {per_cent(found.share)} of the answers; they were in {per_cent(found.before)} of the reference's. "
        "If they do not belong there, the scorer pays for them: have such answers judged, or stop before they take over"
    )


TAKEOVER = Detector("takeover", "above", lambda scene: _found(scene).growth, speaks, verdict)

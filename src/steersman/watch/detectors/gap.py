"""The scorer's praise runs away from that of a second scorer, which nobody learns from: the policy learns what only the first one
likes (Gao et al. 2022, arXiv 2210.10760)."""

from steersman.watch.detectors.detector import Detector, DetectorInput


def measure(scene: DetectorInput) -> float | None:
    if scene.gain is None or scene.held_out_gain is None:
        return None
    return scene.gain - scene.held_out_gain


def difference(scene: DetectorInput) -> list[float]:
    """By how much the scorer likes each answer better than the held-out one does, in deviations; of those that both have read."""
    held_out = scene.baseline.held_out
    answers, others = scene.glance.answers, scene.glance.held_out
    return [
        scene.baseline.score.gain(one.score) - held_out.gain(others[i])
        if held_out is not None and i in others
        else -float("inf")
        for i, one in enumerate(answers)
    ]


def verdict(scene: DetectorInput, value: float) -> str:
    return (
        f"the scorer finds the answers {scene.gain or 0:.1f} deviations better than the reference's, the held-out scorer "
        f"{scene.held_out_gain or 0:.1f}: what is being learned is more and more what the scorer alone likes. Trust the held-out one: stop near "
        "its best, raise kl.coefficient, or train the reward model on judgements of answers like these"
    )


GAP = Detector("gap", "above", measure, difference, verdict)

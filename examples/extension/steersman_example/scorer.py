"""A scorer: a reward function. A class with `name` and `score` (see `steersman.reward.scorer.Scorer`) would do too."""

POLITE = ("please", "thank", "glad", "welcome", "sorry")


def politeness(answer: str) -> float:
    """The number of polite words, less a tenth for each word."""
    words = answer.lower().split()
    return sum(word.strip(".,!?") in POLITE for word in words) - 0.1 * len(words)

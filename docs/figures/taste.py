"""Harbour's known taste as a reward function, for runs whose true reward is to be seen: --scorer docs/figures/taste.py:taste."""

from steersman.harbour.taste import true_taste


def taste(prompt: str, answer: str) -> float:
    return true_taste(prompt, answer)

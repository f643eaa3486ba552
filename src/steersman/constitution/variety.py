"""How alike two prompts are: the share of their word pairs that both have. Copies among new prompts are found so."""

import itertools

from steersman.constitution.malformed import plain_words


def word_pairs(text: str) -> frozenset[tuple[str, str]]:
    """All pairs of neighbouring words, with the beginning and the end as words."""
    words = ["", *plain_words(text).split(), ""]
    return frozenset(itertools.pairwise(words))


def alikeness(one: frozenset[tuple[str, str]], other: frozenset[tuple[str, str]]) -> float:
    """Pairs in both, divided by pairs in either: 1 for the same words in the same order."""
    return len(one & other) / len(one | other) if one or other else 1.0


class Variety:
    """Texts that are known, by their word pairs."""

    def __init__(self) -> None:
        self._known: list[tuple[str, frozenset[tuple[str, str]]]] = []

    def add(self, text: str) -> None:
        self._known.append((text, word_pairs(text)))

    def nearest(self, text: str) -> tuple[float, str]:
        """How alike the most similar known text is, and that text; (0, "") if none is known."""
        pairs = word_pairs(text)
        return max(((alikeness(pairs, known), name) for name, known in self._known), default=(0.0, ""))

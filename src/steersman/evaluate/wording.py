"""Text statistics of answers: distinct-n, self-repetition, malformed text.

distinct-n: distinct n-grams over all n-grams (Li et al. 2016, arXiv 1510.03055). Self-repetition: the share of an
answer's n-grams that are repeats (Welleck et al. 2019, arXiv 1908.04319, section 6: seq-rep-n). Words are separated by
whitespace.
"""

from collections.abc import Sequence

REPEATED = 4


def ngrams(text: str, size: int) -> list[tuple[str, ...]]:
    words = text.casefold().split()
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def distinct(texts: Sequence[str], size: int) -> float:
    """distinct-n over these texts together; 1 if there are no n-grams."""
    grams = [gram for text in texts for gram in ngrams(text, size)]
    return len(set(grams)) / len(grams) if grams else 1.0


def self_repetition(text: str) -> float:
    """The share of an answer's 4-grams that are repeats; 0 if it is too short to have one."""
    grams = ngrams(text, REPEATED)
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def malformed(text: str) -> bool:
    """Whether a text is blank, or has a replacement character (invalid UTF-8) or a control character."""
    return not text.strip() or any(c == "\ufffd" or (ord(c) < 32 and c not in "\t\n\r") for c in text)

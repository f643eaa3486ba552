"""What the words of an answer alone tell: how varied they are, whether they repeat themselves, whether they are text at all.

distinct-n: different n-grams over all n-grams (Li et al. 2016, arXiv 1510.03055). Self-repetition: the share of an answer's n-grams
that it has said before (Welleck et al. 2019, arXiv 1908.04319, section 6: seq-rep-n). Words are what stands between blanks.
"""

from collections.abc import Sequence

REPEATED = 4


def ngrams(text: str, size: int) -> list[tuple[str, ...]]:
    words = text.casefold().split()
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def distinct(texts: Sequence[str], size: int) -> float:
    """Over these texts together; 1 where there is nothing that could repeat."""
    found = [gram for text in texts for gram in ngrams(text, size)]
    return len(set(found)) / len(found) if found else 1.0


def self_repetition(text: str) -> float:
    """An answer too short for a repeated n-gram has not repeated itself."""
    found = ngrams(text, REPEATED)
    return 1.0 - len(set(found)) / len(found) if found else 0.0


def malformed(text: str) -> bool:
    """No words, half a character, or a control character that no text has."""
    return not text.strip() or any(c == "\ufffd" or (ord(c) < 32 and c not in "\t\n\r") for c in text)

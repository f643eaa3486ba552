"""What answers say that the reference's answers did not: new pairs of words, and a phrase that takes over.

Words are what stands between blanks, in lower case, so that this works in any language that writes blanks.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from steersman.evaluate.wording import ngrams

PAIR, PHRASE = 2, 3


def grams(text: str, size: int) -> set[str]:
    return {" ".join(gram) for gram in ngrams(text, size)}


def counted(texts: Sequence[str]) -> dict[str, int]:
    """In how many of the texts each phrase stands."""
    return dict(Counter(phrase for text in texts for phrase in sorted(grams(text, PHRASE))))


def novelty(text: str, known: Collection[str]) -> float:
    """The share of a text's pairs of words that are not known; 0 for a text too short to have one."""
    found = grams(text, PAIR)
    return sum(pair not in known for pair in found) / len(found) if found else 0.0


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The pairs of every second of some texts, and how new the others are to them: answers of the same kind would be as new."""

    pairs: dict[str, None]
    usual: float

    @staticmethod
    def of(texts: Sequence[str]) -> "Vocabulary":
        pairs = dict.fromkeys(pair for text in texts[::2] for pair in sorted(grams(text, PAIR)))
        others = texts[1::2]
        return Vocabulary(pairs, sum(novelty(text, pairs) for text in others) / len(others) if others else 0.0)


@dataclass(frozen=True, slots=True)
class Takeover:
    """The phrase whose share of the answers has grown most."""

    phrase: str
    share: float
    before: float

    @property
    def growth(self) -> float:
        return self.share - self.before


def takeover(texts: Sequence[str], known: Mapping[str, int], known_texts: int) -> Takeover:
    """Of several that grew alike, the first by the alphabet."""
    found = counted(texts)
    best = Takeover("", 0.0, 0.0)
    for phrase in sorted(found):
        one = Takeover(phrase, found[phrase] / len(texts), known.get(phrase, 0) / max(known_texts, 1))
        if one.growth > best.growth:
            best = one
    return best

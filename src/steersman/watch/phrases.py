"""What answers say that the reference's answers did not: new word sequences, and a phrase that takes over.

Words are what stands between blanks, in lower case, so that this works in any language that writes blanks.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steersman.evaluate.wording import ngrams

SIZE = 3


def phrases(text: str) -> set[str]:
    return {" ".join(gram) for gram in ngrams(text, SIZE)}


def counted(texts: Sequence[str]) -> dict[str, int]:
    """In how many of the texts each phrase stands."""
    return dict(Counter(phrase for text in texts for phrase in sorted(phrases(text))))


def novelty(text: str, known: Mapping[str, int]) -> float:
    """The share of a text's phrases that are in none of the known texts; 0 for a text too short to have one."""
    found = phrases(text)
    return sum(phrase not in known for phrase in found) / len(found) if found else 0.0


def usual_novelty(texts: Sequence[str]) -> float:
    """How new the reference's answers are to one another: each half's by the other half."""
    halves = (texts[::2], texts[1::2])
    found = [novelty(text, counted(other)) for mine, other in (halves, halves[::-1]) for text in mine]
    return sum(found) / len(found) if found else 0.0


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

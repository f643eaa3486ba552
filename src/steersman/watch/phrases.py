"""New word pairs and spreading phrases in the policy's answers, compared with the reference's answers.

Words are separated by whitespace and lower-cased, so this works for every language that writes spaces.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from steersman.evaluate.wording import ngrams

PAIR, PHRASE = 2, 3


def grams(text: str, size: int) -> set[str]:
    return {" ".join(gram) for gram in ngrams(text, size)}


def counted(texts: Sequence[str]) -> dict[str, int]:
    """The number of texts that contain each phrase."""
    return dict(Counter(phrase for text in texts for phrase in sorted(grams(text, PHRASE))))


def novelty(text: str, known: Collection[str]) -> float:
    """The share of a text's word pairs that are not among `known`; 0 for a text without pairs."""
    pairs = grams(text, PAIR)
    return sum(pair not in known for pair in pairs) / len(pairs) if pairs else 0.0


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Word pairs of half of the reference's answers, and the mean novelty of the other half: the level to expect."""

    pairs: dict[str, None]
    usual: float

    @staticmethod
    def of(texts: Sequence[str]) -> "Vocabulary":
        pairs = dict.fromkeys(pair for text in texts[::2] for pair in sorted(grams(text, PAIR)))
        others = texts[1::2]
        return Vocabulary(pairs, sum(novelty(text, pairs) for text in others) / len(others) if others else 0.0)


@dataclass(frozen=True, slots=True)
class Takeover:
    """The phrase whose share of the answers has grown most since the baseline."""

    phrase: str
    share: float
    before: float

    @property
    def growth(self) -> float:
        return self.share - self.before


def takeover(texts: Sequence[str], known: Mapping[str, int], known_texts: int) -> Takeover:
    """The phrase that spread most since the baseline; among equals the alphabetically first."""
    counts = counted(texts)
    best = Takeover("", 0.0, 0.0)
    for phrase in sorted(counts):
        candidate = Takeover(phrase, counts[phrase] / len(texts), known.get(phrase, 0) / max(known_texts, 1))
        if candidate.growth > best.growth:
            best = candidate
    return best

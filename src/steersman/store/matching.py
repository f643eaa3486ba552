"""How alike two verdicts about one item are: of two people, of one person twice, or of a person and a known answer."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

CLOSE = 1.0
"""Two ratings of an attribute are alike if they differ by no more than this."""


def likeness(kind: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> float | None:
    """From 0 (nothing alike) to 1 (the same); None where this kind of task, or these verdicts, cannot be compared.

    Pairs: the same answer preferred, or both a tie. Rankings: the share of pairs of answers in the same order. Ratings:
    the share of attributes that both rated alike. Thumbs: the same.
    """
    match kind:
        case "pair" if "preference" in one and "preference" in other:
            return float(_sign(one["preference"] - 0.5) == _sign(other["preference"] - 0.5))
        case "thumb" if "desirable" in one and "desirable" in other:
            return float(one["desirable"] == other["desirable"])
        case "ranking" if one.get("ranks") and other.get("ranks"):
            return _same_order(one["ranks"], other["ranks"])
        case "rating":
            mine, theirs = one.get("ratings") or {}, other.get("ratings") or {}
            both = mine.keys() & theirs.keys()
            return sum(abs(mine[name] - theirs[name]) <= CLOSE for name in both) / len(both) if both else None
        case _:
            return None


def _same_order(one: Sequence[int | float], other: Sequence[int | float]) -> float | None:
    if len(one) != len(other) or len(one) < 2:
        return None
    pairs = list(combinations(range(len(one)), 2))
    return sum(_sign(one[i] - one[j]) == _sign(other[i] - other[j]) for i, j in pairs) / len(pairs)


def _sign(value: int | float) -> int:
    return (value > 0) - (value < 0)

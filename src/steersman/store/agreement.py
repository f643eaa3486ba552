"""Agreement of annotators about comparisons: percent, and Krippendorff's alpha for nominal values.

Krippendorff, Content Analysis (2004), chapter 11: alpha = 1 − observed / expected disagreement, over pairs of values of
one unit, each unit of m values weighted by 1/(m − 1).
"""

import hashlib
from collections import Counter
from typing import Any


class PairAgreement:
    """Values by unit, added one by one. Units with one value say nothing. Each unit takes some hundred
    bytes of memory."""

    def __init__(self) -> None:
        self._values: dict[bytes, Counter[str]] = {}

    def add(self, unit: str, value: str) -> None:
        key = hashlib.blake2b(unit.encode(), digest_size=8).digest()
        self._values.setdefault(key, Counter())[value] += 1

    def as_dict(self) -> dict[str, Any]:
        units = [counts for counts in self._values.values() if counts.total() > 1]
        pairs = sum(n * (n - 1) for n in (counts.total() for counts in units))
        equal = sum(n * (n - 1) for counts in units for n in counts.values())
        percent = 100 * equal / pairs if pairs else None
        return {"items": len(units), "percent": _rounded(percent), "alpha": _rounded(alpha_of(units))}


def alpha_of(units: list[Counter[str]]) -> float | None:
    """Krippendorff's alpha of nominal values; None if there is only one value, or no unit with two."""
    totals: Counter[str] = Counter()
    for counts in units:
        totals.update(counts)
    n = totals.total()
    expected = sum(totals[a] * totals[b] for a in totals for b in totals if a != b)
    if n < 2 or not expected:
        return None
    observed = sum(
        counts[a] * counts[b] / (counts.total() - 1) for counts in units for a in counts for b in counts if a != b
    )
    return 1 - (n - 1) * observed / expected


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

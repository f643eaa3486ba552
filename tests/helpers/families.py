"""Which families of models a test meets in `make test`: two, and not the same two everywhere; the soak meets all of
them.

The two that come first by a hash of test and family: the choice is the same on every machine, a new test changes no
other's, and over all tests each family has its turn."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

PER_TEST = 2


def spread_families(items: Sequence[Any]) -> None:
    """Marks as soak what meets a family beyond its feature's two. A feature is a test with all its parameters but the
    family."""
    from steersman.models.tiny import FAMILIES

    features: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        callspec = getattr(item, "callspec", None)
        family = callspec.params.get("family") if callspec else None
        if family in FAMILIES:
            others = sorted((name, index) for name, index in callspec.indices.items() if name != "family")
            features[f"{item.nodeid.partition('[')[0]} {others}"][family].append(item)
    for feature, found in features.items():
        chosen = chosen_families(feature, found)
        for family, of_family in found.items():
            for item in of_family if family not in chosen else ():
                item.add_marker(pytest.mark.soak)


def chosen_families(feature: str, families: Iterable[str]) -> set[str]:
    order = sorted(families, key=lambda family: hashlib.sha256(f"{feature} {family}".encode()).digest())
    return set(order[:PER_TEST])

"""Krippendorff's alpha against published worked examples, a slow obvious loop, and its interval's coverage."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from steersman.maths.agreement import krippendorff_alpha, krippendorff_interval

# Krippendorff 2011, "Computing Krippendorff's alpha-reliability".
# A: two observers, two values, no missing data.
BINARY = list(zip([0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0], strict=True))
# B: two observers, five nominal values.
NOMINAL = list(zip("aabbdcccedda", "babbbccceddd", strict=True))
# C and D: four observers, twelve units, missing entries, all levels.
MISSING = [
    [1, 1, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4],
    [4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [5, 5, 5], [1, 1], [3],
]  # fmt: skip
# Wikipedia, "Krippendorff's alpha", a computational example: three coders, fifteen units.
THREE = [
    [1], [], [2, 2], [1, 1], [3, 3], [3, 3, 4], [4, 4, 4], [1, 3], [2, 2], [1, 1], [1, 1], [3, 3], [3, 3], [], [3, 4],
]  # fmt: skip


@pytest.mark.parametrize(
    ("units", "level", "expected"),
    [
        (BINARY, "nominal", 0.095),
        (NOMINAL, "nominal", 0.692),
        (MISSING, "nominal", 0.743),
        (MISSING, "ordinal", 0.815),
        (MISSING, "interval", 0.849),
        (MISSING, "ratio", 0.797),
        (THREE, "nominal", 0.691),
        (THREE, "interval", 0.811),
    ],
)
def test_golden_published_examples(units: Any, level: Any, expected: float):
    assert krippendorff_alpha(units, level=level) == pytest.approx(expected, abs=6e-4)


def slowly(units, distance) -> float:
    """Alpha as the definition reads: the mean distance within units over that between all labels."""
    units = [unit for unit in units if len(unit) > 1]
    labels = [label for unit in units for label in unit]
    observed = sum(
        distance(a, b) / (len(unit) - 1) for unit in units for a, b in itertools.permutations(unit, 2)
    ) / len(labels)
    expected = sum(distance(a, b) for a, b in itertools.permutations(labels, 2)) / len(labels) / (len(labels) - 1)
    return 1 - observed / expected


@given(st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=2, max_size=8))
def test_alpha_is_the_definition(units):
    assume(len({label for unit in units if len(unit) > 1 for label in unit}) > 1)
    assert krippendorff_alpha(units, level="nominal") == pytest.approx(slowly(units, lambda a, b: a != b))
    assert krippendorff_alpha(units, level="interval") == pytest.approx(slowly(units, lambda a, b: (a - b) ** 2))
    ratio = slowly(units, lambda a, b: ((a - b) / (a + b)) ** 2 if a + b else 0.0)
    assert krippendorff_alpha(units, level="ratio") == pytest.approx(ratio)


def test_nominal_labels_need_not_be_numbers():
    named = [[f"label {label}" for label in unit] for unit in MISSING]
    assert krippendorff_alpha(named, level="nominal") == pytest.approx(0.743, abs=6e-4)


def interval(units, level: Any = "nominal", confidence: float = 0.95, resamples: int = 1000):
    generator = np.random.default_rng(0)
    return krippendorff_interval(units, level=level, confidence=confidence, resamples=resamples, generator=generator)


def test_what_agreement_cannot_say_is_nan():
    for units in ([["a", "a"], ["a", "a"]], [["a"], ["b"]], []):
        assert math.isnan(krippendorff_alpha(units, level="nominal"))
        assert all(map(math.isnan, interval(units)))


def test_the_interval_is_that_of_all_resamples():
    """Three units have 27 resamples: the bootstrap's quantiles are close to those of all of them."""
    units = [[1, 1], [1, 2], [2, 2]]
    every = [
        krippendorff_alpha([units[i] for i in chosen], level="nominal")
        for chosen in itertools.product(range(3), repeat=3)
    ]
    # By hand: alpha of the three is 1 - (1/3) / (3*3*2 / (6*5)) = 4/9.
    assert krippendorff_alpha(units, level="nominal") == pytest.approx(4 / 9)
    found = interval(units, confidence=0.6, resamples=4000)
    assert (found.low, found.high) == pytest.approx(tuple(np.nanquantile(every, [0.2, 0.8])), abs=1e-6)


def test_the_interval_covers_the_true_alpha_about_as_often_as_it_says():
    """Two observers see the true label (of two, equally likely), each wrong with probability 0.15. They then agree with
    probability 0.85^2 + 0.15^2 = 0.745, and by chance with 0.5: alpha is 1 - 0.255 / 0.5 = 0.49."""
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        truth = generator.integers(2, size=60)
        seen = truth[:, None] ^ (generator.random((60, 2)) < 0.15)
        found = krippendorff_interval(
            seen.tolist(), level="nominal", confidence=0.9, resamples=100, generator=generator
        )
        covered += found.low <= 0.49 <= found.high
    assert 0.82 <= covered / 100 <= 0.96

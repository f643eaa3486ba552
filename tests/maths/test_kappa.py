"""Kappa against published examples and a jackknife."""

import math

import numpy as np
import pytest

from steersman.maths.kappa import cohen_kappa, fleiss_kappa


def labels(both_yes: int, yes_no: int, no_yes: int, both_no: int) -> tuple[list[str], list[str]]:
    cells = [("y", "y")] * both_yes + [("y", "n")] * yes_no + [("n", "y")] * no_yes + [("n", "n")] * both_no
    return [a for a, _ in cells], [b for _, b in cells]


def test_cohens_kappa_of_the_usual_example():
    # observed (20 + 15) / 50 = 0.7; expected 0.5 * 0.6 + 0.5 * 0.4 = 0.5; (0.7 - 0.5) / 0.5 = 0.4
    found = cohen_kappa(*labels(20, 5, 10, 15), confidence=0.95)
    assert found.estimate == pytest.approx(0.4)


def test_the_interval_is_that_of_a_jackknife():
    one, other = labels(80, 20, 40, 60)
    found = cohen_kappa(one, other, confidence=0.95)
    left_out = [
        cohen_kappa(one[:i] + one[i + 1 :], other[:i] + other[i + 1 :], confidence=0.95).estimate
        for i in range(len(one))
    ]
    n = len(one)
    error = math.sqrt((n - 1) / n * float(np.square(np.array(left_out) - np.mean(left_out)).sum()))
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.02)


def test_full_agreement_is_one_and_a_single_label_has_no_kappa():
    assert cohen_kappa(["a", "b"], ["a", "b"], confidence=0.95).estimate == pytest.approx(1.0)
    assert math.isnan(cohen_kappa(["a", "a"], ["a", "a"], confidence=0.95).estimate)
    with pytest.raises(ValueError, match="1 and 0 labels"):
        cohen_kappa(["a"], [], confidence=0.95)


# Fleiss' kappa as in the encyclopaedia's example: ten items, fourteen annotators, five labels, 0.210.
TABLE = """
0 0 0 0 14
0 2 6 4 2
0 0 3 5 6
0 3 9 2 0
2 2 8 1 1
7 7 0 0 0
3 2 6 3 0
2 5 3 2 2
6 5 2 1 0
0 2 2 3 7
"""


def test_fleiss_kappa_of_the_usual_example():
    units = [
        [label for label, count in enumerate(line.split()) for _ in range(int(count))]
        for line in TABLE.strip().splitlines()
    ]
    found = fleiss_kappa([*units, [3]], confidence=0.95, resamples=200, generator=np.random.default_rng(0))
    assert found.estimate == pytest.approx(0.210, abs=0.0005)  # a unit with one label says nothing
    assert found.low < found.estimate < found.high


def test_fleiss_kappa_is_undefined_where_all_say_the_same():
    for units in ([["a", "a"]], [["a"]], []):
        found = fleiss_kappa(units, confidence=0.95, resamples=10, generator=np.random.default_rng(0))
        assert math.isnan(found.estimate)

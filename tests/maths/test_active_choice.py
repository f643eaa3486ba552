"""The choice of pairs: worked examples, and what must never happen."""

import numpy as np
import pytest

from steersman.maths.active_choice import best_pairs, disagreement, information, probabilities, random_part, spread


def test_disagreement_and_information_of_three_pairs():
    # Both members sure and agreed; both at one half; one sure of each side.
    probability = np.array([[1.0, 0.5, 1.0], [1.0, 0.5, 0.0]])
    assert disagreement(probability) == pytest.approx([0.0, 0.0, 0.5])
    # H(mean) - mean(H): 0 - 0; 1 - 1; 1 - 0 bits
    assert information(probability) == pytest.approx([0.0, 0.0, 1.0], abs=1e-6)


def test_information_of_a_pair_by_hand():
    # mean 0.7: H = 0.8813; members 0.9 (0.4690) and 0.5 (1.0): mean 0.7345; 0.1468
    assert information(np.array([[0.9], [0.5]])) == pytest.approx([0.1468], abs=1e-3)
    assert (information(np.full((4, 3), 0.3)) >= 0).all()


def test_margins_become_probabilities():
    assert probabilities(np.array([[0.0, 2.0, -1000.0]])) == pytest.approx(np.array([[0.5, 0.8808, 0.0]]), abs=1e-4)


def test_the_best_pairs_are_of_several_prompts_and_none_is_left_out_wrongly():
    values = np.array([0.9, 0.8, 0.7, 0.1, 0.95])
    prompts = ["a", "a", "b", "b", "c"]
    assert best_pairs(values, prompts, 3, most_per_prompt=1) == [4, 0, 2]
    assert best_pairs(values, prompts, 3, most_per_prompt=2, without=[4]) == [0, 1, 2]
    assert best_pairs(values, prompts, 9, most_per_prompt=1) == [4, 0, 2]


def test_the_random_part_is_fair():
    counts = np.zeros(10)
    for seed in range(2000):
        counts[random_part(10, 3, np.random.default_rng(seed))] += 1
    assert counts / 2000 == pytest.approx(np.full(10, 0.3), abs=0.05)
    assert random_part(3, 9, np.random.default_rng(0)) == [0, 1, 2]


@pytest.mark.parametrize(("one", "other"), [(8, 2), (0, 3), (5, 0), (1, 7), (100, 25)])
def test_the_random_ones_are_spread_evenly(one, other):
    chosen, among = list(range(one)), list(range(1000, 1000 + other))
    mixed = spread(chosen, among)
    assert sorted(mixed) == sorted(chosen + among)
    assert [each for each in mixed if each < 1000] == chosen
    half = mixed[: len(mixed) // 2]
    assert abs(sum(each >= 1000 for each in half) - other / 2) <= 1

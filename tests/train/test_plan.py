"""Which rows go together, worked by hand; the properties are in test_core.py."""

from dataclasses import dataclass

import pytest

from steersman.train.plan import micro_batches, split_over_ranks


@dataclass(frozen=True)
class Row:
    lengths: tuple[int, ...]


def rows(*lengths: int | tuple[int, ...]) -> list[Row]:
    return [Row(n if isinstance(n, tuple) else (n,)) for n in lengths]


def shapes(groups: list[list[Row]]) -> list[list[tuple[int, ...]]]:
    return [[row.lengths for row in group] for group in groups]


def of(*lengths: int) -> list[tuple[int, ...]]:
    return [(n,) for n in lengths]


def test_a_group_is_filled_to_its_budget_of_padded_places():
    # longest first: 5 and 4 are two rows of 5, exactly 10; 3, 3 and 2 are three rows of 3, 9
    assert shapes(micro_batches(rows(3, 5, 2, 4, 3), 10, packed=False)) == [of(5, 4), of(3, 3, 2)]
    assert shapes(micro_batches(rows(3, 5, 2, 4, 3), 9, packed=False)) == [of(5), of(4, 3), of(3, 2)]


def test_a_row_above_the_budget_goes_alone():
    assert shapes(micro_batches(rows(2, 20, 2), 4, packed=False)) == [of(20), of(2, 2)]
    assert shapes(micro_batches(rows(2, 20, 2), 4, packed=True)) == [of(20), of(2, 2)]
    assert shapes(micro_batches(rows(20), 4, packed=True)) == [of(20)]


def test_what_stays_together_counts_with_all_of_its_rows():
    # the pair is two rows of up to 4; with the next pair four rows of 4
    assert shapes(micro_batches(rows((4, 1), (3, 3)), 16, packed=False)) == [[(4, 1), (3, 3)]]
    assert shapes(micro_batches(rows((4, 1), (3, 3)), 15, packed=False)) == [[(4, 1)], [(3, 3)]]
    # without padding 5 and 6 tokens
    assert shapes(micro_batches(rows((4, 1), (3, 3)), 11, packed=True)) == [[(4, 1), (3, 3)]]
    assert shapes(micro_batches(rows((4, 1), (3, 3)), 10, packed=True)) == [[(4, 1)], [(3, 3)]]


def test_rows_are_ordered_by_their_longest_sequence():
    assert shapes(micro_batches(rows((1, 5), (4, 4)), 100, packed=False)) == [[(1, 5), (4, 4)]]
    assert shapes(micro_batches(rows((4, 4), (1, 5)), 100, packed=False)) == [[(1, 5), (4, 4)]]


def test_without_padding_a_row_of_exactly_the_budget_is_no_exception():
    assert shapes(micro_batches(rows(4, 2, 2), 4, packed=True)) == [of(4), of(2, 2)]


def test_one_group_more_is_made_where_the_fewest_cannot_hold_the_rows():
    # 3 + 3 + 3 = 9 fit into two groups of 5 by their sum, but two rows of 3 are 6
    assert shapes(micro_batches(rows(3, 3, 3), 5, packed=True)) == [of(3), of(3), of(3)]


def test_groups_that_are_exactly_full_are_no_more_than_needed():
    # 6 + 6 tokens; each goes to the group with fewer so far: 4 | 3, 3 to the 3, 2 to the 4
    assert shapes(micro_batches(rows(4, 3, 3, 2), 6, packed=True)) == [of(4, 2), of(3, 3)]
    # by 5 it takes three: 4 | 3 | 3, and 2 to the first 3
    assert shapes(micro_batches(rows(4, 3, 3, 2), 5, packed=True)) == [of(4), of(3, 2), of(3)]


@pytest.mark.parametrize("packed", [False, True])
def test_no_rows_are_no_groups(packed: bool):
    assert micro_batches([], 10, packed=packed) == []


def test_rows_are_dealt_in_a_snake_by_their_tokens():
    # 9 8 7 to the first lap, 6 5 4 back, 3 on the third
    assert shapes(split_over_ranks(rows(3, 9, 4, 8, 5, 7, 6), 3)) == [of(9, 4, 3), of(8, 5), of(7, 6)]
    # by all tokens of what stays together: 6 before 5
    assert shapes(split_over_ranks(rows(5, (3, 3)), 2)) == [[(3, 3)], [(5,)]]


def test_one_process_gets_everything():
    assert shapes(split_over_ranks(rows(1, 2), 1)) == [of(2, 1)]

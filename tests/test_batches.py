"""Padding and packing keep every token, in its order, with its mask."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steersman.batches import AnswerGroup, TokenRow, pack_rows, pad_groups, pad_rows
from steersman.errors import DataError


def row_of(length: int, start: int = 1) -> TokenRow:
    mask = torch.arange(length) > length // 2
    return TokenRow(torch.arange(start, start + length), mask)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(1, 8))
def test_padding_keeps_every_token(lengths: list[int], pad_multiple: int):
    rows = [row_of(n, 10 * i + 1) for i, n in enumerate(lengths)]
    batch = pad_rows(rows, pad_id=0, pad_multiple=pad_multiple)
    assert batch.ids.shape[1] % pad_multiple == 0
    assert batch.real_tokens == sum(lengths)
    for i, row in enumerate(rows):
        assert batch.ids[i, : lengths[i]].equal(row.ids)
        assert batch.loss_mask[i, : lengths[i]].equal(row.loss_mask)
        assert not batch.loss_mask[i, lengths[i] :].any()
        assert int(batch.attention_mask[i].sum()) == lengths[i]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8))
def test_packing_keeps_every_row_whole(lengths: list[int]):
    rows = [row_of(n, 100 * i + 1) for i, n in enumerate(lengths)]
    batch = pack_rows(rows, pad_id=0, capacity=16)
    assert batch.segments is not None
    found = []
    for b in range(len(batch.ids)):
        for segment in range(1, int(batch.segments[b].max()) + 1):
            found.append(batch.ids[b][batch.segments[b] == segment].tolist())
    assert sorted(found) == sorted(row.ids.tolist() for row in rows)
    assert int((batch.segments > 0).sum()) == sum(lengths)


def test_packing_wastes_less_than_padding():
    rows = [row_of(n) for n in (3, 30, 5, 7, 28, 4)]
    assert pack_rows(rows, pad_id=0, capacity=40).padding_share < pad_rows(rows, pad_id=0).padding_share


def test_taking_rows_cuts_the_padding_that_none_of_them_needs():
    batch = pad_rows([row_of(3), row_of(9), row_of(4)], pad_id=0).to("cpu")
    taken = batch.take(torch.tensor([2, 0]))
    assert taken.ids.shape == (2, 4)
    assert taken.ids[0].tolist() == [1, 2, 3, 4]
    assert batch.padding_share == pytest.approx(1 - 16 / 27)


def test_groups_keep_their_pairs():
    one, none = torch.ones(1), torch.zeros(0)
    index = torch.tensor
    thumbs = index([2]), one
    groups = [
        AnswerGroup((row_of(3), row_of(5)), index([0]), index([1]), one, 0 * one, one, none.long(), none),
        AnswerGroup(
            (row_of(4), row_of(2), row_of(6)),
            index([0, 2]),
            index([1, 0]),
            one.repeat(2),
            one.repeat(2),
            one.repeat(2) / 3,
            *thumbs,
        ),
    ]
    batch = pad_groups(groups, pad_id=0).to("cpu")
    assert groups[1].lengths == (4, 2, 6)
    assert batch.first.tolist() == [0, 2, 4]
    assert batch.second.tolist() == [1, 3, 2]
    assert batch.tokens.lengths.tolist() == [3, 5, 4, 2, 6]
    assert batch.thumbed.tolist() == [4]
    assert batch.positions == batch.tokens.ids.numel()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: TokenRow(torch.tensor([1, 2]), torch.tensor([True, True])), "first token"),
        (lambda: pad_rows([], pad_id=0), "no rows"),
        (lambda: pack_rows([row_of(9)], pad_id=0, capacity=8), "does not fit"),
    ],
)
def test_impossible_rows_are_refused(make, reason: str):
    with pytest.raises(DataError, match=reason):
        make()

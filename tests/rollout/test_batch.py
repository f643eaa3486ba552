"""A batch of answers: its columns and its views agree, and it travels as bytes without changing a bit."""

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steersman.errors import DataError
from steersman.rollout.batch import FINISH_REASONS, Rollout, RolloutBatch, token_index

TOKENS = st.integers(0, 2**31 - 1)
NUMBERS = st.floats(width=32)  # NaN and infinity too: what the engine gave must arrive as it was


@st.composite
def batches(draw: st.DrawFn, least: int = 0) -> RolloutBatch:
    """Answers to some prompts, whose numbers need not be 0, 1, 2, …"""
    prompts = draw(st.dictionaries(st.integers(0, 50), st.lists(TOKENS, min_size=1, max_size=4), max_size=4))
    if least and not prompts:
        prompts = {3: [1, 2]}
    known = draw(st.booleans()), draw(st.booleans())
    made: list[Rollout] = []
    for prompt in sorted(prompts):
        for sample in range(draw(st.integers(1, 3))):
            ids = draw(st.lists(TOKENS, min_size=1, max_size=5))

            def column(count: int = len(ids)) -> torch.Tensor:
                return torch.tensor(draw(st.lists(NUMBERS, min_size=count, max_size=count)), dtype=torch.float32)

            made.append(
                Rollout(
                    prompt,
                    sample,
                    tuple(prompts[prompt]),
                    tuple(ids),
                    column(),
                    column(),
                    draw(st.sampled_from(FINISH_REASONS)),
                    draw(st.integers(-(2**63), 2**63 - 1)),
                    draw(st.integers(0, 2**40)),
                    column() if known[0] else None,
                    column() if known[1] else None,
                )
            )
    return RolloutBatch.of(made)


def bits(value: Any) -> Any:
    """A field so that NaN equals the same NaN."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.numpy().tobytes()
    return value


def same(one: Any, other: Any) -> bool:
    return all(bits(getattr(one, field.name)) == bits(getattr(other, field.name)) for field in fields(one))


@given(batches())
def test_a_batch_arrives_as_it_was_sent_to_the_bit(batch):
    assert same(RolloutBatch.from_bytes(batch.to_bytes()), batch)


@given(batches(), st.data())
def test_a_bit_that_flipped_on_the_way_is_an_error(batch, data):
    sent = bytearray(batch.to_bytes())
    sent[data.draw(st.integers(0, len(sent) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DataError, match="rollouts"):
        RolloutBatch.from_bytes(bytes(sent))


@given(batches(), st.data())
def test_bytes_that_were_cut_off_are_an_error(batch, data):
    sent = batch.to_bytes()
    with pytest.raises(DataError, match="cut off or damaged: send them again"):
        RolloutBatch.from_bytes(sent[: data.draw(st.integers(0, len(sent) - 1))])


def test_another_format_is_an_error_that_names_both(monkeypatch):
    from steersman.rollout import batch

    sent = RolloutBatch.of([answer()]).to_bytes()
    monkeypatch.setattr(batch, "FORMAT", "steersman rollouts 2")
    with pytest.raises(
        DataError, match="'steersman rollouts 1' were received, and 'steersman rollouts 2' was expected"
    ):
        RolloutBatch.from_bytes(sent)


@given(batches())
def test_the_views_are_slices_of_the_columns(batch):
    views = list(batch)
    assert same(RolloutBatch.of(views), batch)
    assert len(views) == len(batch)
    assert batch.lengths.tolist() == [len(one.ids) for one in views]
    for i, one in enumerate(views):
        start, end = batch.offsets[i], batch.offsets[i + 1]
        assert list(one.ids) == batch.ids[start:end].tolist()
        assert bits(one.log_probs) == bits(batch.log_probs[start:end])
        assert same(batch[i - len(batch)], one)


@given(batches(least=1))
def test_rows_are_prompt_and_answer(batch):
    for one, row in zip(batch, batch.rows, strict=True):
        assert torch.equal(row.ids, one.row.ids)
        assert torch.equal(row.loss_mask, one.row.loss_mask)
        assert row.ids.tolist() == [*one.prompt_ids, *one.ids]
        assert row.targets == len(one.ids)


@given(batches(), st.integers(1, 3))
def test_the_shares_of_processes_are_joined_in_the_order_of_prompts_and_samples(batch, size):
    parts = [RolloutBatch.of(one for one in batch if one.prompt % size == rank) for rank in range(size)]
    assert same(RolloutBatch.joined(reversed(parts)), batch)


def answer(prompt: int = 0, sample: int = 0, prompt_ids: tuple[int, ...] = (1, 2), **more: Any) -> Rollout:
    said = torch.tensor([-0.5, -1.5])
    return Rollout(prompt, sample, prompt_ids, (7, 0), said, said, "end", 5, 3, **more)


def test_a_batch_is_a_sequence():
    batch = RolloutBatch.of([answer(0), answer(2, prompt_ids=(4,)), answer(2, 1, prompt_ids=(4,))])
    assert [one.prompt for one in batch[1:]] == [2, 2]
    assert batch[-1] == batch[2] == answer(2, 1, prompt_ids=(4,))
    assert batch.prompt_ids.tolist() == [1, 2, 4]
    with pytest.raises(IndexError, match="no answer 3 in a batch of 3"):
        batch[3]
    assert len(RolloutBatch.of([])) == 0
    assert RolloutBatch.of([]).rows == []


def test_equal_means_equal_to_the_bit():
    one = RolloutBatch.of([answer()])
    assert one == RolloutBatch.of([answer()])
    assert one != replace(one, log_probs=one.log_probs + 1e-6)
    assert one != replace(one, values=torch.zeros(2))
    assert answer() != answer(sample=1)
    assert answer() != 1


def test_answers_to_one_prompt_have_one_prompt():
    with pytest.raises(DataError, match="two answers to prompt 0 have different prompt ids"):
        RolloutBatch.of([answer(), answer(sample=1, prompt_ids=(9,))])


def test_what_only_some_answers_know_is_left_out():
    assert RolloutBatch.of([answer(values=torch.ones(2)), answer(sample=1)]).values is None
    known = [answer(sample=n, values=torch.full((2,), float(n))) for n in (0, 1)]
    assert RolloutBatch.of(known).values.tolist() == [0, 0, 1, 1]
    # a process without answers has no say
    assert RolloutBatch.joined([RolloutBatch.of([]), RolloutBatch.of(known)]) == RolloutBatch.of(known)


def test_the_index_of_tokens_walks_through_each_answer():
    assert token_index(torch.tensor([10, 3, 7]), torch.tensor([2, 0, 3])).tolist() == [10, 11, 7, 8, 9]

"""The core divides once: nothing about micro-batches, padding or order shows in loss, gradient or weights."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from steersman.batches import TokenBatch, TokenRow, pad_rows
from steersman.errors import NotFinite
from steersman.parallel.world import World
from steersman.train.core import BAD_STEPS_IN_A_ROW, Learner
from steersman.train.objective import Sums, Term
from steersman.train.optim import Optimisation, adamw
from steersman.train.plan import Batching, micro_batches, split_over_ranks
from steersman.train.precision import autocast

VOCABULARY = 11


class Bigram(nn.Module):
    """The smallest language model: the next token from this one, through one hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, 8)
        self.head = nn.Linear(8, VOCABULARY)

    def log_probs(self, batch: TokenBatch) -> torch.Tensor:
        logits = self.head(torch.tanh(self.table(batch.ids[:, :-1])))
        chosen = logits.log_softmax(-1).gather(-1, batch.ids[:, 1:, None])[..., 0]
        return chosen[batch.loss_mask[:, 1:]]


class TwoMeans:
    """Two terms over different numbers of things: a token mean, and a mean over rows."""

    def weights(self, units):
        return {"token": float(sum(u.targets for u in units)), "row": float(len(units))}

    def __call__(self, model, batch):
        chosen = model.log_probs(batch)
        squares = model.table(batch.ids[:, 0]).square().sum()
        return Sums(
            {"token": Term(-chosen.sum(), 1.0), "row": Term(squares, 0.5)},
            {"longest": (float(batch.lengths.sum()), float(len(batch.lengths)))},
        )


def rows_of(lengths: list[int], seed: int = 0) -> list[TokenRow]:
    generator = torch.Generator().manual_seed(seed)
    return [TokenRow(torch.randint(1, VOCABULARY, (n,), generator=generator), torch.arange(n) > 0) for n in lengths]


def learner_of(
    budget: int,
    *,
    pad_multiple: int = 1,
    notices: list[str] | None = None,
    max_grad_norm: float = 1e9,
    model: nn.Module | None = None,
) -> Learner:
    torch.manual_seed(1)
    model = (model or Bigram()).double()
    return Learner(
        model,
        Optimisation(
            adamw(model, learning_rate=0.01, weight_decay=0.1, betas=(0.9, 0.95), epsilon=1e-8),
            rate_at=lambda step: 1.0 / (1 + step),
            max_grad_norm=max_grad_norm,
        ),
        Batching(lambda units: pad_rows(units, pad_id=0, pad_multiple=pad_multiple), budget),
        World.alone(),
        precision=autocast("fp32", torch.device("cpu")),
        notice=(notices if notices is not None else []).append,
    )


def plain_reference(model: Bigram, rows: list[TokenRow]) -> torch.Tensor:
    """The loss as one would write it on a board: no padding, no batches."""
    losses = []
    for row in rows:
        for t in range(1, len(row.ids)):
            logits = model.head(torch.tanh(model.table(row.ids[t - 1])))
            losses.append(-logits.log_softmax(-1)[row.ids[t]])
    squares = torch.stack([model.table(row.ids[0]).square().sum() for row in rows])
    return torch.stack(losses).mean() + 0.5 * squares.mean()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=7), st.integers(1, 80), st.sampled_from([1, 4]))
def test_any_micro_batch_size_and_padding_gives_the_reference_loss_and_step(
    lengths: list[int], budget: int, pad_multiple: int
):
    rows = rows_of(lengths)
    fast, slow = learner_of(budget, pad_multiple=pad_multiple), learner_of(10**9)
    expected = plain_reference(slow.model, rows)
    gradients = torch.autograd.grad(expected, list(slow.model.parameters()))
    for parameter, gradient in zip(slow.model.parameters(), gradients, strict=True):
        parameter.grad = gradient
    slow.optimiser.step()
    report = fast.step(rows[::-1], TwoMeans())
    assert report.loss == pytest.approx(expected.item(), rel=1e-10)
    assert report.metrics["longest"] == pytest.approx(sum(lengths) / len(lengths))
    assert report.tokens == sum(lengths)
    for ours, theirs in zip(fast.model.parameters(), slow.model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_gradients_are_clipped_to_the_norm_and_the_norm_before_is_reported():
    rows, learner = rows_of([5, 6]), learner_of(100, max_grad_norm=0.1)
    seen = {}
    learner.optimiser.register_step_post_hook(
        lambda optimiser, *_: seen.update(
            norm=float(torch.nn.utils.get_total_norm([p.grad for p in learner.model.parameters()]))
        )
    )
    report = learner.step(rows, TwoMeans())
    assert report.gradient_norm > 0.1
    assert seen["norm"] == pytest.approx(0.1, rel=1e-6)


def test_the_schedule_sets_the_rate_of_every_step():
    learner = learner_of(100)
    rates = [learner.step(rows_of([4]), TwoMeans()).learning_rate for _ in range(3)]
    assert rates == pytest.approx([0.01, 0.005, 0.01 / 3])


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_never_reaches_the_optimiser(poison: float):
    notices: list[str] = []
    learner = learner_of(100, notices=notices)
    learner.step(rows_of([5]), TwoMeans())
    before = {n: t.clone() for n, t in learner.model.state_dict().items()}
    moments = [s["exp_avg"].clone() for s in learner.optimiser.state.values()]

    class Poisoned(TwoMeans):
        def __call__(self, model, batch):
            sums = super().__call__(model, batch)
            return Sums({**sums.terms, "row": Term(sums.terms["row"].total * poison, 0.5)}, {})

    for _ in range(BAD_STEPS_IN_A_ROW - 1):
        assert learner.step(rows_of([5]), Poisoned()).skipped
    assert all(torch.equal(before[n], t) for n, t in learner.model.state_dict().items())
    assert all(torch.equal(a, s["exp_avg"]) for a, s in zip(moments, learner.optimiser.state.values(), strict=True))
    assert "untouched" in notices[0]
    with pytest.raises(NotFinite, match="5 steps in a row"):
        learner.step(rows_of([5]), Poisoned())
    assert all(torch.equal(before[n], t) for n, t in learner.model.state_dict().items())


def test_one_good_step_forgives_the_bad_ones_before_it():
    learner = learner_of(100)
    learner.progress.bad_in_a_row = BAD_STEPS_IN_A_ROW - 1
    assert not learner.step(rows_of([5]), TwoMeans()).skipped
    assert learner.progress.bad_in_a_row == 0


def test_out_of_memory_is_answered_by_smaller_micro_batches_and_the_same_step():
    rows, notices = rows_of([9, 8, 7, 6]), []
    roomy, tight = learner_of(1000), learner_of(1000, notices=notices)

    class Tight(TwoMeans):
        def __call__(self, model, batch):
            if batch.ids.numel() > 20:
                raise torch.OutOfMemoryError("can't allocate memory")
            return super().__call__(model, batch)

    expected, found = roomy.step(rows, TwoMeans()), tight.step(rows, Tight())
    assert found.loss == pytest.approx(expected.loss, rel=1e-12)
    assert tight.progress.token_budget < 36
    assert "the result stays the same" in notices[-1]
    for ours, theirs in zip(tight.model.parameters(), roomy.model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_other_errors_are_not_taken_for_memory():
    class Broken(TwoMeans):
        def __call__(self, model, batch):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        learner_of(100).step(rows_of([5]), Broken())


def test_measuring_changes_nothing():
    learner = learner_of(20)
    before = {n: t.clone() for n, t in learner.model.state_dict().items()}
    rows = rows_of([5, 3, 8])
    found = learner.measure(rows, TwoMeans())
    expected = plain_reference(learner.model, rows)
    assert found["token"] + 0.5 * found["row"] == pytest.approx(expected.item())
    assert all(torch.equal(before[n], t) for n, t in learner.model.state_dict().items())
    assert learner.progress.step == 0


def test_nothing_trainable_is_said():
    from steersman.errors import UsageError

    model = Bigram().requires_grad_(False)
    with pytest.raises(UsageError, match="nothing is trainable"):
        adamw(model, learning_rate=0.1, weight_decay=0.0, betas=(0.9, 0.99), epsilon=1e-8)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 200), st.booleans())
def test_micro_batches_keep_the_budget_and_lose_nothing(lengths: list[int], budget: int, packed: bool):
    rows = rows_of([n + 1 for n in lengths])
    groups = micro_batches(rows, budget, packed=packed)
    assert sorted(id(r) for g in groups for r in g) == sorted(id(r) for r in rows)
    for group in groups:
        cost = sum(len(r.ids) for r in group) if packed else len(group) * max(len(r.ids) for r in group)
        assert len(group) == 1 or cost <= budget


@given(st.lists(st.integers(2, 50), min_size=0, max_size=30), st.integers(1, 5))
def test_dealing_gives_every_row_once_and_nearly_as_much_to_each(lengths: list[int], ranks: int):
    rows = rows_of(lengths)
    hands = split_over_ranks(rows, ranks)
    assert sorted(id(r) for h in hands for r in h) == sorted(id(r) for r in rows)
    assert max(map(len, hands)) - min(map(len, hands)) <= 1


def test_rows_whose_padding_is_not_computed_are_counted_and_grouped_by_their_own_length():
    lengths = [9, 2, 2, 2, 9]
    seen: list[int] = []

    def collate(units):
        seen.append(sum(len(unit.ids) for unit in units))
        return pad_rows(units, pad_id=0)

    learner = learner_of(12)
    unpadded = Learner(
        learner.model,
        Optimisation(learner.optimiser, rate_at=lambda step: 1.0, max_grad_norm=1.0),
        Batching(collate, 12, unpadded=True),
        World.alone(),
        precision=autocast("fp32", torch.device("cpu")),
        notice=print,
    )
    report = unpadded.step(rows_of(lengths), TwoMeans())
    # two groups would be 9 + 2 + 2 and 9 + 2, one of them above 12; so three, the smallest filled first
    assert seen == [9, 9, 6]
    assert (report.tokens, report.padding_share) == (24, 0.0)


def test_groups_by_sum_are_of_nearly_one_size():
    # longest first, each to the smaller group so far: 9 | 8, then 7 to 8, then 3, 2 and 1 to 9
    groups = micro_batches(rows_of([3, 9, 1, 8, 2, 7]), 16, packed=True)
    assert [[len(r.ids) for r in group] for group in groups] == [[9, 3, 2, 1], [8, 7]]
    # a row above the budget goes alone, and the others are still together
    assert [[len(r.ids) for r in g] for g in micro_batches(rows_of([4, 30, 5]), 16, packed=True)] == [[30], [5, 4]]

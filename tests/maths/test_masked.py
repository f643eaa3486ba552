"""Masked statistics: golden numbers, properties, and what happens when nothing counts."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steersman.maths import masked

VALUES = torch.tensor([[1.0, 2.0, 99.0], [6.0, math.nan, -5.0]], dtype=torch.float64)
MASK = torch.tensor([[True, True, False], [True, False, False]])

floats = st.floats(-100, 100)


@st.composite
def values_and_mask(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = draw(st.lists(floats, min_size=2, max_size=30))
    mask = draw(st.lists(st.booleans(), min_size=len(numbers), max_size=len(numbers)))
    mask[0] = mask[1] = True
    return torch.tensor(numbers, dtype=torch.float64), torch.tensor(mask)


def test_golden_sum_mean_variance():
    # 1 + 2 + 6 = 9; 9 / 3 = 3; ((1-3)^2 + (2-3)^2 + (6-3)^2) / 3 = (4 + 1 + 9) / 3 = 14/3. The NaN is masked.
    assert masked.masked_sum(VALUES, MASK).item() == 9
    assert masked.masked_mean(VALUES, MASK, if_empty=0.0).item() == 3
    assert masked.masked_variance(VALUES, MASK, if_empty=0.0).item() == pytest.approx(14 / 3)
    total, weight = masked.sum_and_weight(VALUES, MASK)
    assert (total.item(), weight.item()) == (9, 3)


def test_an_empty_mask_gives_what_was_asked_for_and_no_nan_gradient():
    values = torch.ones(2, 2, requires_grad=True)
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    assert masked.masked_mean(values, nothing, if_empty=7.0).item() == 7
    assert masked.masked_variance(values, nothing, if_empty=5.0).item() == 5
    assert masked.whiten(values, nothing, keep_mean=False).tolist() == [[0, 0], [0, 0]]
    masked.masked_mean(values, nothing, if_empty=7.0).backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[0, 0], [0, 0]]


def test_a_masked_nan_has_no_gradient():
    values = VALUES.clone().requires_grad_()
    masked.masked_sum(values, MASK).backward()
    assert values.grad is not None
    assert torch.equal(values.grad, MASK.double())
    values.grad = None
    white = masked.whiten(values, MASK, keep_mean=True)
    (white.square().sum() + masked.masked_variance(values, MASK, if_empty=0.0)).backward()
    assert values.grad.isfinite().all()  # pyright: ignore[reportAttributeAccessIssue]
    assert (values.grad[~MASK] == 0).all()


def test_golden_whitening():
    # values 1, 2, 6: mean 3, sd sqrt(14/3) = 2.160247
    # (1-3)/2.160247 = -0.925820, (2-3)/.. = -0.462910, 3/.. = 1.388730
    expected = torch.tensor([[-0.925820, -0.462910, 0.0], [1.388730, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(masked.whiten(VALUES, MASK, keep_mean=False), expected, atol=1e-6, rtol=0)
    with_mean = torch.where(MASK, expected + 3, 0)
    torch.testing.assert_close(masked.whiten(VALUES, MASK, keep_mean=True), with_mean, atol=1e-6, rtol=0)


@given(values_and_mask())
def test_whitening_has_mean_zero_and_variance_one_on_the_mask(case: tuple[torch.Tensor, torch.Tensor]):
    values, mask = case
    white = masked.whiten(values, mask, keep_mean=False)[mask]
    assert white.mean().abs() < 1e-6
    if values[mask].var(correction=0) > 1e-3:
        assert white.var(correction=0).item() == pytest.approx(1, abs=1e-4)


@given(values_and_mask())
def test_keep_mean_keeps_the_mean(case: tuple[torch.Tensor, torch.Tensor]):
    values, mask = case
    white = masked.whiten(values, mask, keep_mean=True)[mask]
    assert white.mean().item() == pytest.approx(values[mask].mean().item(), abs=1e-6)


def test_whitening_with_a_global_mean_and_variance_equals_whitening_the_whole_batch():
    values, mask = torch.randn(6, 5), torch.rand(6, 5) < 0.7
    mean = masked.masked_mean(values, mask, if_empty=0.0)
    variance = masked.masked_variance(values, mask, if_empty=1.0)
    halves = [
        masked.whiten_with(v, m, mean, variance, keep_mean=False)
        for v, m in ((values[:2], mask[:2]), (values[2:], mask[2:]))
    ]
    torch.testing.assert_close(torch.cat(halves), masked.whiten(values, mask, keep_mean=False))


@given(values_and_mask(), st.integers(1, 4))
def test_padding_changes_nothing(case: tuple[torch.Tensor, torch.Tensor], extra: int):
    values, mask = case
    padded = torch.cat([values, torch.full((extra,), math.inf, dtype=torch.float64)])
    padded_mask = torch.cat([mask, torch.zeros(extra, dtype=torch.bool)])
    # Not bit for bit: the length decides how a vectorised sum groups its terms.
    torch.testing.assert_close(
        masked.masked_mean(padded, padded_mask, if_empty=0.0),
        masked.masked_mean(values, mask, if_empty=0.0),
        atol=1e-12,
        rtol=1e-12,
    )
    torch.testing.assert_close(
        masked.whiten(padded, padded_mask, keep_mean=False)[:-extra],
        masked.whiten(values, mask, keep_mean=False),
        atol=1e-9,
        rtol=1e-9,
    )


def test_one_value_that_counts_is_its_own_mean_and_has_no_variance():
    values, mask = torch.tensor([[7.0, 99.0], [5.0, 3.0]]), torch.tensor([[True, False], [False, False]])
    assert masked.masked_mean(values, mask, if_empty=-1.0).item() == 7
    assert masked.masked_variance(values, mask, if_empty=-1.0).item() == 0


def test_nothing_at_all_is_whitened_to_nothing():
    assert masked.whiten(torch.zeros(0), torch.zeros(0, dtype=torch.bool), keep_mean=True).shape == (0,)


def test_equal_values_are_whitened_to_zero_and_not_to_nan():
    values, mask = torch.full((4,), 5.0), torch.ones(4, dtype=torch.bool)
    assert masked.whiten(values, mask, keep_mean=False).tolist() == [0.0] * 4
    assert masked.whiten(values, mask, keep_mean=True).tolist() == [5.0] * 4
    # the epsilon under the square root is 1e-8: a difference of 1e-4 from the mean, of variance 1e-8, becomes sqrt(1/2)
    close = torch.tensor([1e-4, -1e-4], dtype=torch.float64)
    white = masked.whiten(close, torch.ones(2, dtype=torch.bool), keep_mean=False)
    torch.testing.assert_close(white, torch.tensor([0.5**0.5, -(0.5**0.5)], dtype=torch.float64))

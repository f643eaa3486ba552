"""Annotations are checked at a function's first calls of each test, and now and then after that."""

import pytest
import torch
import typechecks
from beartype import beartype
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from steersman.maths.masked import masked_sum

WRONG = torch.zeros(2)


@typechecks._sparing(typechecker=beartype)
def twice(x: Float[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
    return 2 * x


def refused() -> bool:
    try:
        twice(WRONG)
    except TypeCheckError:
        return True
    return False


def test_the_first_calls_are_checked_and_then_those_at_powers_of_two():
    assert [n for n in range(1, 70) if refused()] == [*range(1, typechecks.FIRST + 1), 16, 32, 64]


def test_each_test_counts_from_the_first_call_again():
    calls = [refused() for _ in range(typechecks.FIRST + 1)]
    typechecks.begin_test()
    assert (calls[-1], refused()) == (False, True)


def test_the_functions_of_the_package_are_decorated():
    with pytest.raises(TypeCheckError):
        masked_sum(torch.zeros(2, 3), torch.ones(1, 3, dtype=torch.bool))

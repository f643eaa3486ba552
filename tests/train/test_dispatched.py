"""What is counted as a launch, and what as waiting for a GPU."""

import torch

from steersman.train.dispatched import Dispatched


def test_views_and_allocations_are_no_launches():
    x = torch.randn(4, 6)
    with Dispatched() as counted:
        x.view(6, 4).t()[1:].unsqueeze(0)
        torch.empty(3)
        y = x @ x.t()
        y += 1
    assert counted.launches == {"aten.mm.default": 1, "aten.add_.Tensor": 1}
    assert counted.count == 2
    assert counted.free.total() >= 4
    assert not counted.waits


def test_whatever_reads_a_number_or_a_size_waits():
    x, mask = torch.arange(4.0), torch.tensor([True, False, True, True])
    reads = [
        lambda: float(x.sum()),
        lambda: bool(mask.any()),
        lambda: x.tolist(),
        lambda: x.cpu(),
        lambda: x[mask],
        lambda: mask.nonzero(),
        lambda: x.repeat_interleave(mask.long()),
        lambda: x.masked_select(mask),
    ]
    for read in reads:
        with Dispatched() as counted:
            read()
        assert counted.waits.total() >= 1, read
    with Dispatched() as counted:
        x.repeat_interleave(mask.long(), output_size=3)
        torch.where(mask, x, 0).index_select(0, torch.tensor([1]))
    assert not counted.waits
    assert x.tolist() == [0, 1, 2, 3], "the methods are as before"


def test_nothing_is_counted_while_paused_or_inside_an_operation():
    @torch.library.custom_op("tests::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x + float(x.sum()) + sum(x.tolist())

    with Dispatched() as counted:
        twice(torch.ones(3))
        with counted.paused():
            torch.ones(3).tolist()
    assert counted.launches["tests.twice.default"] == 1
    assert not counted.waits

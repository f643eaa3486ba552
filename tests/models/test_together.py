"""A batch in one buffer is the same batch, and new numbers take the old ones' places."""

import torch

from steersman.batches import TokenRow, pad_rows
from steersman.models.together import apart, joined, move_together, shapes_of, tensors_of


def batch_of(lengths):
    rows = [TokenRow(torch.randint(2, 300, (n,)), torch.arange(n) > n // 2) for n in lengths]
    return pad_rows(rows, pad_id=1).with_packed()


def test_a_batch_in_one_buffer_is_the_same_batch():
    batch = batch_of((5, 9, 1))
    names = tensors_of(batch)
    assert set(names) >= {"ids", "loss_mask", "lengths", "packed.ids", "packed.starts"}
    again = apart(batch, joined(batch, pinned=False))
    for name, tensor in tensors_of(again).items():
        assert tensor.dtype == names[name].dtype
        assert torch.equal(tensor, names[name]), name
    assert again.packed.longest == batch.packed.longest
    assert again.segments is None
    assert len({one.untyped_storage().data_ptr() for one in tensors_of(again).values()}) == 1


def test_a_second_batch_of_the_same_shapes_takes_the_place_of_the_first():
    first, second = batch_of((5, 9)), batch_of((5, 9))
    assert shapes_of(first) == shapes_of(second) != shapes_of(batch_of((5, 40)))
    buffer = joined(first, pinned=False)
    placed = apart(first, buffer)
    assert torch.equal(placed.ids, first.ids)
    buffer.copy_(joined(second, pinned=False))
    assert torch.equal(placed.ids, second.ids)
    assert torch.equal(placed.packed.targets, second.packed.targets)


def test_on_a_processor_nothing_moves():
    batch = batch_of((3,))
    assert move_together(batch, torch.device("cpu")) is batch

"""All tensors of a batch in one buffer, so that they move to a GPU in one copy, and new ones to the same addresses."""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false

from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

BatchT = TypeVar("BatchT")
# Every tensor begins at a multiple of so many bytes.
_ALIGNED = 16


def tensors_of(batch: Any) -> dict[str, Tensor]:
    """The tensors of a dataclass and of the dataclasses in it, by dotted name."""
    found: dict[str, Tensor] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            found[field.name] = value
        elif is_dataclass(value):
            found.update({f"{field.name}.{name}": tensor for name, tensor in tensors_of(value).items()})
    return found


def with_tensors(batch: BatchT, tensors: Mapping[str, Tensor]) -> BatchT:
    """The dataclass with these tensors in place of its own."""
    given: Any = batch
    changed: dict[str, Any] = {}
    for field in fields(given):
        value = getattr(given, field.name)
        if isinstance(value, Tensor):
            changed[field.name] = tensors[field.name]
        elif is_dataclass(value):
            prefix = f"{field.name}."
            inner = {k.removeprefix(prefix): tensor for k, tensor in tensors.items() if k.startswith(prefix)}
            changed[field.name] = with_tensors(value, inner)
    return replace(given, **changed)


def shapes_of(batch: Any) -> Hashable:
    """The names, shapes and dtypes of all tensors."""
    return tuple((name, tuple(one.shape), one.dtype) for name, one in tensors_of(batch).items())


def joined(batch: Any, *, pinned: bool) -> Tensor:
    """All tensors of a batch on the CPU, one behind the other, as bytes."""
    parts = [tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors_of(batch).values()]
    buffer = torch.zeros(sum(_aligned(len(part)) for part in parts), dtype=torch.uint8, pin_memory=pinned)
    place = 0
    for part in parts:
        buffer[place : place + len(part)] = part
        place += _aligned(len(part))
    return buffer


def apart(batch: BatchT, buffer: Tensor) -> BatchT:
    """The batch with its tensors in this buffer, which `joined` made of it or of one with the same shapes."""
    tensors: dict[str, Tensor] = {}
    place = 0
    for name, tensor in tensors_of(batch).items():
        size = tensor.numel() * tensor.element_size()
        tensors[name] = buffer[place : place + size].view(tensor.dtype).view(tensor.shape)
        place += _aligned(size)
    return with_tensors(batch, tensors)


def move_together(batch: BatchT, device: torch.device) -> BatchT:
    """The batch on the device, moved in one copy."""
    if device.type == "cpu":
        return batch
    pinned = device.type == "cuda"
    return apart(batch, joined(batch, pinned=pinned).to(device, non_blocking=pinned))


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED

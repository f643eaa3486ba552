"""Offloading: tensors that are kept in CPU memory and copied to the device only while they are needed.

Only their `data` is exchanged; the tensors stay the same objects, so optimisers, checkpoints and tied layers are not
affected. Copies are exact. For a GPU the CPU copy is in pinned memory, and is reused.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Offloaded:
    """A set of offloaded tensors. `tensors` returns the present ones, since an optimiser creates its state later.

    With `frozen` parameters never change, so they are not copied back to the CPU; buffers are.
    """

    def __init__(self, tensors: Callable[[], Iterable[Tensor]], device: torch.device, *, frozen: bool) -> None:
        self._tensors = tensors
        self._device = device
        self._frozen = frozen
        # By id(tensor). The tensor is kept too, so that no other object can get its id.
        self._cpu_copies: dict[int, tuple[Tensor, Tensor]] = {}
        self._users = 0
        self.to_cpu()

    @property
    def bytes(self) -> int:
        """CPU memory taken by the offloaded tensors, also while they are on the device."""
        return sum(copy.numel() * copy.element_size() for _, copy in self._cpu_copies.values())

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """Context manager: the tensors are on the device inside the block, also if it raises. Blocks may be nested."""
        self._users += 1
        try:
            if self._users == 1:
                self._to_device()
            yield
        finally:
            self._users -= 1
            if self._users == 0:
                self.to_cpu()

    def _to_device(self) -> None:
        for tensor in _distinct(self._tensors()):
            on_device = torch.empty_like(tensor.data, device=self._device)
            tensor.data = on_device.copy_(tensor.data, non_blocking=True)

    def to_cpu(self) -> None:
        """Move all tensors to CPU memory. It may be called at any time outside `on_device`."""
        copies: dict[int, tuple[Tensor, Tensor]] = {}
        for tensor in _distinct(self._tensors()):
            copy = self._cpu_copies[id(tensor)][1] if id(tensor) in self._cpu_copies else None
            if copy is None or copy.shape != tensor.shape or copy.dtype != tensor.dtype:
                copy = self._new_copy(tensor)
                copy.copy_(tensor.data, non_blocking=True)
            elif not _same_memory(copy, tensor) and not (self._frozen and isinstance(tensor, nn.Parameter)):
                copy.copy_(tensor.data, non_blocking=True)
            copies[id(tensor)] = (tensor, copy)
        if self._device.type == "cuda":
            # The CPU reads the copies from here on, and their device memory is reused: the transfers must have ended.
            torch.cuda.synchronize(self._device)
        for tensor, copy in copies.values():
            tensor.data = copy
        self._cpu_copies = copies

    def _new_copy(self, tensor: Tensor) -> Tensor:
        return torch.empty_like(tensor.data, device="cpu", pin_memory=self._device.type == "cuda")


def offload_modules(modules: Iterable[nn.Module], device: torch.device, *, frozen: bool) -> Offloaded:
    """Offload the parameters and buffers of these modules, some of which may share layers."""
    offloaded = list(modules)
    return Offloaded(
        lambda: (t for module in offloaded for t in (*module.parameters(), *module.buffers())), device, frozen=frozen
    )


def offload_optimiser_state(optimiser: torch.optim.Optimizer, device: torch.device) -> Offloaded:
    """Offload an optimiser's state: for Adam its two moments and the step counters."""

    def state_tensors() -> Iterator[Tensor]:
        for state in optimiser.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))

    return Offloaded(state_tensors, device, frozen=False)


def _distinct(tensors: Iterable[Tensor]) -> Iterable[Tensor]:
    return {id(tensor): tensor for tensor in tensors}.values()


def _same_memory(copy: Tensor, tensor: Tensor) -> bool:
    return copy.device == tensor.device and copy.data_ptr() == tensor.data_ptr()


def has_its_own_memory(device: torch.device) -> bool:
    """Whether the device has memory of its own, so that offloading to the CPU frees some."""
    return device.type not in ("cpu", "mps")

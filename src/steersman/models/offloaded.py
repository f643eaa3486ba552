"""Tensors that lie in the processor's memory and come to the device only while they are needed.

Their `data` is exchanged and the tensors stay the same objects, so optimisers, checkpoints and tied layers know nothing of it. Copies are
exact: no number changes. On a GPU the copy in the processor's memory is pinned, and kept for the next time.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Offloaded:
    """`tensors` names those that there are now: an optimiser makes its own as it goes. With `frozen` parameters never change, so
    that on their way home nothing is copied; buffers may, and are."""

    def __init__(self, tensors: Callable[[], Iterable[Tensor]], device: torch.device, *, frozen: bool) -> None:
        self._tensors = tensors
        self._device = device
        self._frozen = frozen
        # By id, with the tensor itself, so that no other one gets its id.
        self._homes: dict[int, tuple[Tensor, Tensor]] = {}
        self._visits = 0
        self.to_cpu()

    @property
    def bytes(self) -> int:
        """What lies, or has its place, in the processor's memory."""
        return sum(home.numel() * home.element_size() for _, home in self._homes.values())

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """On the device while it lasts, however it ends."""
        self._visits += 1
        try:
            if self._visits == 1:
                self._come()
            yield
        finally:
            self._visits -= 1
            if self._visits == 0:
                self.to_cpu()

    def _come(self) -> None:
        for tensor in _each_once(self._tensors()):
            there = torch.empty_like(tensor.data, device=self._device)
            tensor.data = there.copy_(tensor.data, non_blocking=True)

    def to_cpu(self) -> None:
        """Into the processor's memory with all that is not there; safe to call at any time between visits."""
        homes: dict[int, tuple[Tensor, Tensor]] = {}
        for tensor in _each_once(self._tensors()):
            home = self._homes[id(tensor)][1] if id(tensor) in self._homes else None
            if home is None or home.shape != tensor.shape or home.dtype != tensor.dtype:
                home = self._new_home(tensor)
                home.copy_(tensor.data, non_blocking=True)
            elif not _same_place(home, tensor) and not (self._frozen and isinstance(tensor, nn.Parameter)):
                home.copy_(tensor.data, non_blocking=True)
            homes[id(tensor)] = (tensor, home)
        if self._device.type == "cuda":
            # What is on its way is read by the processor from here on, and its place on the device is given to others.
            torch.cuda.synchronize(self._device)
        for tensor, home in homes.values():
            tensor.data = home
        self._homes = homes

    def _new_home(self, tensor: Tensor) -> Tensor:
        return torch.empty_like(tensor.data, device="cpu", pin_memory=self._device.type == "cuda")


def park_modules(modules: Iterable[nn.Module], device: torch.device, *, frozen: bool) -> Offloaded:
    """Modules, of which some may share layers."""
    kept = list(modules)
    return Offloaded(
        lambda: (t for module in kept for t in (*module.parameters(), *module.buffers())), device, frozen=frozen
    )


def park_moments(optimiser: torch.optim.Optimizer, device: torch.device) -> Offloaded:
    """An optimiser's state: of Adam its two moments and the counters of steps."""

    def moments() -> Iterator[Tensor]:
        for state in optimiser.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))

    return Offloaded(moments, device, frozen=False)


def _each_once(tensors: Iterable[Tensor]) -> Iterable[Tensor]:
    return {id(tensor): tensor for tensor in tensors}.values()


def _same_place(home: Tensor, tensor: Tensor) -> bool:
    return home.device == tensor.device and home.data_ptr() == tensor.data_ptr()


def has_its_own_memory(device: torch.device) -> bool:
    """Whether something that leaves the device makes room there."""
    return device.type not in ("cpu", "mps")

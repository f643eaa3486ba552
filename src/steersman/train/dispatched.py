"""Counts the operations that torch dispatches, and those that make the CPU wait for a GPU; on any machine.

Every dispatched operation costs Python and the dispatcher a few microseconds, and most launch a kernel. Views and
allocations launch none and are counted apart. A custom operation counts once, whatever happens inside.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Operations that launch no kernel besides views: allocations, and bookkeeping.
_FREE = (
    "aten.empty",
    "aten.new_empty",
    "aten.detach",
    "aten.lift_fresh",
    "aten.alias",
    "aten._unsafe_view",
    "aten.promote_types",
    "aten.sym_",
    "profiler.",
)
# Operations whose result, or the shape of whose result, the CPU has to read from the device.
_WAITING = (
    "aten._local_scalar_dense",
    "aten.nonzero",
    "aten.masked_select",
    "aten.equal",
    "aten._unique",
    "aten.unique",
    "aten.is_nonzero",
)
# Tensor methods that read the device without a dispatched operation on a CPU.
_READS = ("tolist", "cpu", "numpy", "item")


class Dispatched(TorchDispatchMode):
    """Context manager that counts: `launches` by name, `free` operations (views, allocations), and `waits`."""

    def __init__(self) -> None:
        super().__init__()
        self.launches: Counter[str] = Counter()
        self.free: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self._paused = 0

    @property
    def count(self) -> int:
        return self.launches.total()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if not self._paused:
            name = str(func)
            if any(name.startswith(one) for one in _WAITING) or _reads_a_size(name, args, given):
                self.waits[name] += 1
            is_free = name.startswith(_FREE) or _is_view(func)
            (self.free if is_free else self.launches)[name] += 1
        with self.paused():
            return func(*args, **given)

    @contextmanager
    def paused(self) -> Generator[None]:
        """Context manager: inside the block nothing is counted, such as what is computed on the CPU anyway."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    def __enter__(self) -> "Dispatched":
        self._methods = {name: getattr(Tensor, name) for name in _READS}
        for name, method in self._methods.items():
            setattr(Tensor, name, self._counted(name, method))
        return cast("Dispatched", super().__enter__())

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for name, method in self._methods.items():
            setattr(Tensor, name, method)

    def _counted(self, name: str, method: Any) -> Any:
        def read(tensor: Tensor, *given: Any, **named: Any) -> Any:
            if not self._paused and name != "item":  # that one is dispatched
                self.waits[f"Tensor.{name}"] += 1
            return method(tensor, *given, **named)

        return read


def _is_view(func: Any) -> bool:
    """Whether the result shares the memory of an argument that is not written."""
    returns = func._schema.returns
    return bool(returns) and all(one.alias_info is not None and not one.alias_info.is_write for one in returns)


def _reads_a_size(name: str, args: Any, given: Any) -> bool:
    """Indexing by a mask and repeating by a tensor: the size of the result depends on values."""
    if name.startswith("aten.repeat_interleave"):
        return given.get("output_size") is None
    if not name.startswith(("aten.index.Tensor", "aten.index_put")):
        return False
    return any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1])

"""The process group of a run, and its collectives. In `World.alone()`, with one rank, every collective is the identity.

Under torchrun (or Slurm with the same variables), `join` reads RANK, WORLD_SIZE and LOCAL_RANK.
"""

import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.rendezvous import rendezvous

from steersman.errors import SteersmanError

# torch's default is half an hour, during which a hang looks like work.
TIMEOUT = timedelta(seconds=float(os.environ.get("STEERSMAN_COLLECTIVE_TIMEOUT", "300")))

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    rank: int
    size: int
    device: torch.device
    mesh: DeviceMesh | None

    @staticmethod
    def alone(device: torch.device | str = "cpu") -> "World":
        return World(0, 1, torch.device(device), None)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value summed over the ranks. All ranks must pass the same names."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def max(self, value: int) -> int:
        return int(self._reduce({"value": float(value)}, dist.ReduceOp.MAX)["value"])

    def any(self, value: bool) -> bool:
        return bool(self.max(int(value)))

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """This tensor of every rank, in rank order. All must have the same shape."""
        if self.size == 1:
            return [tensor]
        # nccl moves only what is on a GPU
        mine = tensor.to(self.device) if self.device.type == "cuda" else tensor.contiguous()
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(parts, mine)
        return [part.cpu() for part in parts]

    def exchange(self, value: T) -> list[T]:
        """This value of every rank, in rank order. It is pickled for the transfer and never written to disk. Tensors in
        it should own their memory: pickling a view also copies the rest of its storage."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def together(self, what: str, work: Callable[[], T]) -> list[T]:
        """The result of `work` on every rank, in rank order. If it fails on one rank, all ranks raise: that rank its
        own error, the others an error that quotes it. `work` must not call collectives."""
        failure: Exception | None = None
        mine: list[T] = []
        try:
            mine = [work()]
        except Exception as error:
            if self.size == 1:
                raise
            failure = error
        # A SteersmanError keeps its class, so that all ranks react alike and end with its exit code.
        kind = type(failure) if isinstance(failure, SteersmanError) else SteersmanError
        results = self.exchange((mine, "" if failure is None else f"{type(failure).__name__}: {failure}", kind))
        if failure is not None:
            raise failure
        for rank, (_, message, error_class) in enumerate(results):
            if message:
                raise error_class(f"{what} failed on rank {rank}, so this rank stops too: {message}")
        return [part[0] for part, _, _ in results]

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()

    def _reduce(self, values: Mapping[str, float], how: dist.ReduceOp.RedOpType) -> dict[str, float]:
        if self.size == 1:
            return dict(values)
        names = sorted(values)
        # mps has no float64, and gloo reduces on the CPU anyway
        device = self.device if self.device.type == "cuda" else torch.device("cpu")
        packed = torch.tensor([values[name] for name in names], dtype=torch.float64, device=device)
        dist.all_reduce(packed, op=how)
        return dict(zip(names, packed.tolist(), strict=True))


def launched() -> bool:
    """Whether a launcher started this process as one rank of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def end_process(code: int) -> NoReturn:
    """Flush stdout and stderr and exit a launched process at once, without interpreter shutdown.

    The threads of a process group live on after `join` as long as any sharded tensor does. One that frees a tensor
    during interpreter shutdown aborts the process, and a finished run would count as failed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


_times = itertools.count()


@lru_cache(maxsize=1)
def _meeting_place() -> tuple[dist.Store, int, int]:
    """The launcher's rendezvous store, this process's rank, and the world size. Cached: the port can be opened only
    once."""
    return next(iter(rendezvous("env://", timeout=TIMEOUT)))


@contextmanager
def join(device: torch.device) -> Iterator[World]:
    """The process group of this run, as a context manager. Without a launcher it is `World.alone`."""
    if not launched():
        yield World.alone(device)
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    store, rank, size = _meeting_place()
    # A new prefix for each group: keys that an earlier group left in the store would confuse this one.
    store = dist.PrefixStore(f"steersman/{next(_times)}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        yield World(dist.get_rank(), dist.get_world_size(), device, mesh)
        # All ranks wait here for each other: one that closes its connections early aborts the others.
        dist.barrier()
    finally:
        dist.destroy_process_group()

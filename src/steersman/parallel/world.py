"""The processes of one run, from one to many. `World.alone()` is a world of one: every collective is then the identity.

Started under torchrun (or Slurm with the same variables), `join` reads RANK, WORLD_SIZE and LOCAL_RANK.
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

# The library's default is half an hour, in which a hang looks like work.
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
        """Each value summed over the processes; all of them must bring the same names."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def max(self, value: int) -> int:
        return int(self._reduce({"value": float(value)}, dist.ReduceOp.MAX)["value"])

    def any(self, value: bool) -> bool:
        return bool(self.max(int(value)))

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """This tensor of every process, in the order of their ranks; all must have the same shape."""
        if self.size == 1:
            return [tensor]
        # nccl moves only what is on a GPU
        mine = tensor.to(self.device) if self.device.type == "cuda" else tensor.contiguous()
        found = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(found, mine)
        return [part.cpu() for part in found]

    def exchange(self, value: T) -> list[T]:
        """Any value of every process, in the order of their ranks. It is pickled on its way and never stays on a disk; tensors in it
        should own their memory, for a view takes along what it is a view of."""
        if self.size == 1:
            return [value]
        found: list[T | None] = [None] * self.size
        dist.all_gather_object(found, value)
        return found  # type: ignore[return-value]

    def together(self, what: str, work: Callable[[], T]) -> list[T]:
        """What each process's own work found, in the order of ranks. Where one fails, all end: with its error where it happened, and
        elsewhere with a word about it. The work itself must not need the other processes."""
        failure: Exception | None = None
        mine: list[T] = []
        try:
            mine = [work()]
        except Exception as error:
            if self.size == 1:
                raise
            failure = error
        # An error of ours keeps its kind, so that all processes do what it asks for (and end with its exit code).
        kind = type(failure) if isinstance(failure, SteersmanError) else SteersmanError
        found = self.exchange((mine, "" if failure is None else f"{type(failure).__name__}: {failure}", kind))
        if failure is not None:
            raise failure
        for rank, (_, words, theirs) in enumerate(found):
            if words:
                raise theirs(f"{what} failed in process {rank}, and this one ends with it: {words}")
        return [part[0] for part, _, _ in found]

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()

    def _reduce(self, values: Mapping[str, float], how: dist.ReduceOp.RedOpType) -> dict[str, float]:
        if self.size == 1:
            return dict(values)
        names = sorted(values)
        # mps has no float64, and gloo reduces on the processor anyway
        device = self.device if self.device.type == "cuda" else torch.device("cpu")
        packed = torch.tensor([values[name] for name in names], dtype=torch.float64, device=device)
        dist.all_reduce(packed, op=how)
        return dict(zip(names, packed.tolist(), strict=True))


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def end_process(code: int) -> NoReturn:
    """End a launched process here and now, with all it wrote on its way. The threads of a process group outlive `join` for as long as
    anything sharded does; one that lets go of a tensor while the interpreter shuts down aborts the process, and a run that is
    finished would count as failed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


_times = itertools.count()


@lru_cache(maxsize=1)
def _meeting_place() -> tuple[dist.Store, int, int]:
    """The store that the launcher names, this process's rank, and how many there are. Kept: its port can be opened but once."""
    return next(iter(rendezvous("env://", timeout=TIMEOUT)))


@contextmanager
def join(device: torch.device) -> Iterator[World]:
    """This process's place among the others, for as long as the block lasts."""
    if not launched():
        yield World.alone(device)
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    store, rank, size = _meeting_place()
    # A name of its own for each time: what an earlier group left in the store would lead this one astray.
    store = dist.PrefixStore(f"steersman/{next(_times)}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        yield World(dist.get_rank(), dist.get_world_size(), device, mesh)
        # Nobody leaves before the others are done: a peer that closes its connection early aborts them.
        dist.barrier()
    finally:
        dist.destroy_process_group()

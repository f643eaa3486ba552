"""The process group of a run, and its collectives. In `World.alone()`, with one rank, every collective is the identity.

Under torchrun (or Slurm with the same variables), `join` reads RANK, WORLD_SIZE and LOCAL_RANK. The collectives here go
over CPU memory (see `collectives`); those of the model (FSDP's) have a group of their own.
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
from steersman.parallel.collective_trace import TIMEOUT, CollectiveTrace
from steersman.parallel.collectives import Collectives

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    rank: int
    size: int
    device: torch.device
    mesh: DeviceMesh | None
    collectives: Collectives | None = None
    """None with one rank."""

    @staticmethod
    def alone(device: torch.device | str = "cpu") -> "World":
        return World(0, 1, torch.device(device), None)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value summed over the ranks, in rank order. All ranks must pass the same names."""
        if self.collectives is None:
            return dict(values)
        names = sorted(values)
        mine = torch.tensor([values[name] for name in names], dtype=torch.float64)
        return dict(zip(names, sum(self.gather(mine), torch.zeros_like(mine)).tolist(), strict=True))

    def max(self, value: int) -> int:
        if self.collectives is None:
            return value
        return int(torch.stack(self.gather(torch.tensor(value))).max())

    def any(self, value: bool) -> bool:
        return bool(self.max(int(value)))

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """This tensor of every rank, in rank order, in CPU memory. All must have the same shape."""
        if self.collectives is None:
            return [tensor]
        mine = tensor.detach().cpu().contiguous()
        parts = self.collectives.gather("gather", mine.numpy().tobytes())
        return [torch.frombuffer(bytearray(part), dtype=mine.dtype).view(mine.shape) for part in parts]

    def exchange(self, value: T) -> list[T]:
        """This value of every rank, in rank order. It is pickled for the transfer and never written to disk. Tensors in
        it should own their memory: pickling a view also copies the rest of its storage."""
        return [value] if self.collectives is None else self.collectives.exchange(value)

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

    def everywhere(self, what: str, work: Callable[[], T]) -> T:
        """This rank's result of `work`, once every rank has its own. All ranks raise as in `together`."""
        mine: list[T] = []
        self.together(what, lambda: mine.append(work()))
        return mine[0]

    def first_alone(self, what: str, work: Callable[[], None]) -> None:
        """Rank 0 does the work, and the others wait however long it takes. All ranks raise as in `together`."""
        self.together(what, lambda: work() if self.first else None)

    def first_before_others(self, what: str, work: Callable[[], T]) -> T:
        """This rank's result of `work`, which the others begin when rank 0 is done: they find what it has written."""
        mine: list[T] = []
        for turn in (True, False):
            self.together(what, lambda turn=turn: mine.append(work()) if self.first == turn else None)
        return mine[0]

    def barrier(self) -> None:
        if self.collectives is not None:
            self.collectives.gather("barrier", b"")


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
def _rendezvous_store() -> tuple[dist.Store, int, int]:
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
    store, rank, size = _rendezvous_store()
    # A new prefix for each group: keys that an earlier group left in the store would confuse this one. torchrun may
    # keep one store over its attempts (--max-restarts).
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(f"steersman/{attempt}/{next(_times)}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    trace = CollectiveTrace(dist.PrefixStore("trace", store), rank, size)
    try:
        mesh = init_device_mesh(device.type, (size,))
        group = dist.new_group(backend="gloo", timeout=timedelta(days=1))
        assert isinstance(group, dist.ProcessGroup)
        world = World(rank, size, device, mesh, Collectives(group, rank, size, trace))
        yield world
        # All ranks wait here for each other: one that closes its connections early aborts the others.
        world.barrier()
    finally:
        trace.end()
        dist.destroy_process_group()

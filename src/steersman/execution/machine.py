"""Where a run computes: device, threads, precision, micro-batch size and kernels, from the settings and the machine."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from steersman.costs.device import Kind, PlannedDevice
from steersman.errors import UsageError
from steersman.parallel.world import World
from steersman.runs.caches import cache_folder
from steersman.runs.stamp import read_stamp
from steersman.settings.parts import ComputeSettings, RunSettings
from steersman.train.allocator import keep_freed_memory
from steersman.train.kernels import Kernels, choose_kernels, using
from steersman.train.precision import Precision, resolve_precision


def planned_device(run: RunSettings, compute: ComputeSettings, memory: float, *, memory_said: bool) -> PlannedDevice:
    """The device that a plan is for. With a given memory it may be a GPU that is not in this machine: where the
    settings name one, or no device at all."""
    if not memory_said:
        kind = resolve_device(run.device).type
    else:
        kind = "cuda" if run.device == "auto" else _named(run.device).type
    here = kind != "cuda" or torch.cuda.is_available()
    bf16 = resolve_precision(compute.precision, torch.device(kind)) == "bf16" if here else compute.precision != "fp32"
    return PlannedDevice(cast(Kind, kind), memory, bf16)


# Tokens of a micro-batch, by device. On a CPU small ones stay in the cache and are faster than large ones. Below a
# width of about 256, overhead dominates: at width 128, twice the tokens were measured 1.4 times as fast. From about
# 512, the weights do not fit the cache, and each micro-batch reads them again: at width 768, twice the tokens were
# 1.06 times as fast.
TOKEN_BUDGET = {"cpu": 1024, "mps": 8192, "cuda": 16384}
NARROW, WIDE, TWICE = 256, 512, 2048


@dataclass(frozen=True)
class Machine:
    device: torch.device
    threads: int
    precision: Precision
    kernels: Kernels
    token_budget: int
    pad_multiple: int
    """Rows are padded to a multiple of this many tokens: oneDNN caches one kernel for each shape."""
    compiled: bool = False
    """Whether torch compiles the models' layers."""
    keeps_freed_memory: bool = False
    """Whether the model is so narrow that allocating memory takes noticeable time (train/allocator.py)."""

    def pad_multiple_within(self, context: int | None) -> int:
        """`pad_multiple`, or 1 where padding would go beyond what the model can read."""
        return self.pad_multiple if context is None or context % self.pad_multiple == 0 else 1

    @property
    def facts(self) -> dict[str, bool]:
        """What the last bits of a result depend on, for the stamp."""
        found = {"onednn kernels": self.kernels == "onednn", "bf16": self.precision == "bf16"}
        return {**found, "compiled": True} if self.compiled else found

    @property
    def rollout_dtype(self) -> torch.dtype | None:
        """The dtype that answers are sampled in, if not the model's own."""
        return torch.bfloat16 if self.precision == "bf16" and self.device.type == "cuda" else None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Use the threads and kernels of this machine; both are restored at the end. Freed memory stays kept."""
        if self.keeps_freed_memory:
            keep_freed_memory()
        with on_threads(self.threads), using(self.kernels) if self.device.type == "cpu" else nullcontext():
            yield


@contextmanager
def on_threads(number: int) -> Iterator[None]:
    """Use this many CPU threads; the number before is restored at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def resolve_device(wish: str) -> torch.device:
    if wish == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = _named(wish)
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, True):
        raise UsageError(
            f"the device {wish!r} was asked for, but torch {torch.__version__} finds none; use run.device=cpu or auto"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"the device {wish!r} was asked for, but there are only {torch.cuda.device_count()} GPUs")
    return device


def _named(wish: str) -> torch.device:
    """The device of that name, which need not be in this machine."""
    try:
        device = torch.device(wish)
    except RuntimeError:
        device = None
    # torch knows others (meta, xla, hpu), which nothing here was ever run on
    if device is None or device.type not in ("cpu", "cuda", "mps") or (device.type != "cuda" and device.index):
        raise UsageError(f"unknown device {wish!r}; expected auto, cpu, cuda, cuda:<number> or mps")
    return device


def resolve_machine(run: RunSettings, compute: ComputeSettings, *, width: int, kept: Path, world: World) -> Machine:
    """The machine from the settings. A continued run keeps the threads and kernels that it began with.

    These are in its stamp, in the folder `kept`: another number of threads changes the last bits. All ranks use the
    same kernels; where their measurements differ, the default ones.
    """
    device = resolve_device(run.device)
    begun = begun_with(kept)
    threads = run.threads or begun.threads or torch.get_num_threads()
    precision = resolve_precision(compute.precision, device)
    kernels: Kernels = "default"
    if device.type == "cpu" and precision == "fp32":
        wished = begun.kernels or compute.kernels
        with on_threads(threads):
            kernels = choose_kernels(width, _memory()) if wished == "auto" else wished
    if len({*world.exchange(kernels)}) > 1:
        kernels = "default"
    budget = compute.tokens_per_micro_batch or usual_token_budget(device.type, width)
    compiled = compute.compile and device.type == "cuda"
    pad_multiple, narrow = 16 if kernels == "onednn" else 1, device.type == "cpu" and width < NARROW
    return Machine(device, threads, precision, kernels, budget, pad_multiple, compiled, keeps_freed_memory=narrow)


def usual_token_budget(device: str, width: int) -> int:
    """Default tokens of a micro-batch, for a model of this width."""
    if device == "cpu" and not NARROW <= width < WIDE:
        return TWICE
    return TOKEN_BUDGET.get(device, 8192)


@dataclass(frozen=True)
class Begun:
    """What a continued run began with; None where the run is new."""

    threads: int | None
    kernels: Kernels | None


def begun_with(folder: Path) -> Begun:
    if not (folder / "stamp.json").exists():
        return Begun(None, None)
    stamp = read_stamp(folder / "stamp.json")
    onednn = stamp.get("deterministic", {}).get("onednn kernels")
    return Begun(stamp.get("threads"), None if onednn is None else "onednn" if onednn else "default")


def _memory() -> Path | None:
    cache = cache_folder()
    return None if cache is None else cache / "kernels.json"

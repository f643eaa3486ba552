"""Float32 matrix kernels on a CPU: those of torch's default BLAS library, or oneDNN's.

Torch exposes oneDNN's float32 kernels through a setting that *permits* lower precision. On many CPUs they compute true
float32, and faster; on a CPU with bfloat16 tiles they may round. So the error is measured before the setting is used.
Timing is noisy and the choice changes the last bits, so it is measured once per machine and stored; a run keeps the
kernels it was started with.
"""

import json
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, cast

import torch

from steersman.errors import SteersmanError
from steersman.runs.folder import atomic_write_text

Kernels = Literal["default", "onednn"]
# Float32 products of this size have errors of about 1e-6; with bfloat16 inputs they would be 4e-3.
LARGEST_ERROR = 1e-5
# oneDNN caches a kernel per shape: half a gigabyte more at 12 million parameters, not worth it below this speed-up.
WORTHWHILE = 1.25


@contextmanager
def using(kernels: Kernels) -> Generator[None]:
    """Context manager: inside the block float32 products use these kernels."""
    settings = cast(Any, torch.backends.mkldnn).matmul
    before: str = settings.fp32_precision
    settings.fp32_precision = "bf16" if kernels == "onednn" else "none"
    try:
        yield
    finally:
        settings.fp32_precision = before


def choose_kernels(hidden: int, memory: Path | None) -> Kernels:
    """The faster kernels for a model of this width on this machine, among those that are exact.

    The choice is remembered in the file `memory` where it can be written.
    """
    machine = f"{torch.backends.cpu.get_cpu_capability()} torch {torch.__version__} threads {torch.get_num_threads()}"
    key = f"{machine} width {hidden}"
    stored = {} if memory is None else _read(memory)
    if key not in stored:
        stored[key] = (
            "onednn" if relative_error("onednn", hidden) < LARGEST_ERROR and gain(hidden) > WORTHWHILE else "default"
        )
        if memory is not None:
            _write(memory, stored)
    return "onednn" if stored[key] == "onednn" else "default"


def relative_error(kernels: Kernels, hidden: int) -> float:
    """The largest error of a product against float64, relative to its largest element."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(64, hidden, generator=generator), torch.randn(hidden, hidden, generator=generator)
    exact = a.double() @ b.double()
    with using(kernels):
        return float(((a @ b).double() - exact).abs().max() / exact.abs().max())


def gain(hidden: int, rows: int = 768, repeats: int = 7) -> float:
    """Speed-up of oneDNN: seconds with the default kernels over seconds with its own, for a layer's products."""
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(rows, hidden, generator=generator), torch.randn(3 * hidden, hidden, generator=generator)
    y = torch.randn(rows, 3 * hidden, generator=generator)

    def once(kernels: Kernels) -> float:
        with using(kernels):
            started = time.perf_counter()
            for a, b in ((x, w.T), (y, w), (y.T, x)):
                torch.mm(a, b)
            return time.perf_counter() - started

    once("default")
    once("onednn")
    # alternating, and the minimum of each: other work on the machine only ever adds time
    times = [(once("default"), once("onednn")) for _ in range(repeats)]
    return min(t[0] for t in times) / min(t[1] for t in times)


def _write(memory: Path, stored: Mapping[str, str]) -> None:
    # Without it the next run measures again, which costs less than a second.
    with suppress(OSError, SteersmanError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(memory, json.dumps(stored, indent=1, sort_keys=True))


def _read(memory: Path) -> dict[str, str]:
    try:
        value = cast(object, json.loads(memory.read_text()))
    except (OSError, ValueError):
        return {}
    return cast(dict[str, str], value) if isinstance(value, dict) else {}

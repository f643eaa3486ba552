"""How a processor multiplies float32 matrices: the library torch was built with, or oneDNN's own kernels.

Torch reaches oneDNN's float32 kernels through a setting that *permits* lower precision. On many processors it computes true
float32, and faster; on one with bfloat16 tiles it may really round. So the error is measured before the setting is used, never
assumed. Timing is noisy and the choice changes the last bits, so it is measured once a machine and then remembered; a run keeps
the choice it began with.
"""

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import torch

from steersman.runs.folder import atomic_write_text

Kernels = Literal["default", "onednn"]
# Float32 products of this size err by about 1e-6; bfloat16 inputs would err by 4e-3.
LARGEST_ERROR = 1e-5
# They keep a kernel for each shape, half a gigabyte more at 12 million parameters; below this gain that is not worth it.
WORTHWHILE = 1.25


@contextmanager
def using(kernels: Kernels) -> Generator[None]:
    """Multiply with these kernels inside the block."""
    settings = cast(Any, torch.backends.mkldnn).matmul
    before: str = settings.fp32_precision
    settings.fp32_precision = "bf16" if kernels == "onednn" else "none"
    try:
        yield
    finally:
        settings.fp32_precision = before


def choose_kernels(hidden: int, memory: Path) -> Kernels:
    """The faster kernels for a model of this width on this machine, if they are as exact."""
    key = f"{torch.backends.cpu.get_cpu_capability()} torch {torch.__version__} threads {torch.get_num_threads()} width {hidden}"
    remembered = _read(memory)
    if key not in remembered:
        remembered[key] = (
            "onednn" if relative_error("onednn", hidden) < LARGEST_ERROR and gain(hidden) > WORTHWHILE else "default"
        )
        memory.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(memory, json.dumps(remembered, indent=1, sort_keys=True))
    return "onednn" if remembered[key] == "onednn" else "default"


def relative_error(kernels: Kernels, hidden: int) -> float:
    """The largest error of a product against float64, as a share of its largest element."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(64, hidden, generator=generator), torch.randn(hidden, hidden, generator=generator)
    exact = a.double() @ b.double()
    with using(kernels):
        return float(((a @ b).double() - exact).abs().max() / exact.abs().max())


def gain(hidden: int, rows: int = 768, repeats: int = 7) -> float:
    """Seconds of the default kernels over seconds of oneDNN's, for a layer's products forward and backward."""
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
    # alternating, and the best of each: other work on the machine only ever adds
    times = [(once("default"), once("onednn")) for _ in range(repeats)]
    return min(t[0] for t in times) / min(t[1] for t in times)


def _read(memory: Path) -> dict[str, str]:
    try:
        found = cast(object, json.loads(memory.read_text()))
    except (OSError, ValueError):
        return {}
    return cast(dict[str, str], found) if isinstance(found, dict) else {}

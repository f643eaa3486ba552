"""What this machine can do: free memory, and operations a second."""

import time
from collections.abc import Mapping
from pathlib import Path

import torch

from steersman.errors import UsageError

UNITS: Mapping[str, float] = {"GIB": 2**30, "MIB": 2**20, "GB": 1e9, "MB": 1e6, "G": 1e9, "M": 1e6}


def operations_a_second(width: int, device: torch.device) -> float:
    """Operations a second in matrix products of about this width, measured in a fraction of a second."""
    rows, width = 1024, min(2048, max(64, width))
    a, b = torch.randn(rows, width, device=device), torch.randn(width, 3 * width, device=device)
    torch.mm(a, b)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        (a @ b)[0, 0].item()
        best = min(best, time.perf_counter() - started)
    return 2.0 * rows * width * 3 * width / best


def memory_there(wish: str | None) -> float:
    """Bytes that may be used: the given amount (24GB, 500MB), or what is free on this machine."""
    if wish is not None:
        return _bytes_of(wish)
    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return float(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError) as error:
        raise UsageError("how much memory is free cannot be told on this system; say it: --memory 16GB") from error


def _bytes_of(words: str) -> float:
    text = words.strip().upper()
    for unit, size in UNITS.items():
        if text.endswith(unit):
            try:
                value = float(text.removesuffix(unit))
            except ValueError:
                break
            if value > 0:
                return value * size
    raise UsageError(f"memory {words!r} is no amount; expected a number with GB, MB, GiB or MiB, such as 24GB")

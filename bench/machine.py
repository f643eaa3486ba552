"""Peak throughput of this machine: of a float32 matrix product, for the shapes of the benchmark's models.

Run: python bench/machine.py [--threads 2]
"""

import argparse
import json
import time
from collections.abc import Callable

import torch

from data import SIZES, config_of
from steersman.costs.shape import Shape, shape_of_config
from steersman.train.kernels import using


def best_peak(threads: int, width: int = 2048, repeats: int = 5) -> float:
    """Peak operations per second of a matrix product: bf16 on a GPU, float32 with the faster kernels on a CPU.

    On a CPU by processor time per thread, so that other work on the machine matters little.
    """
    if torch.cuda.is_available():
        return gpu_peak()
    torch.set_num_threads(threads)
    a, b = torch.randn(width, width), torch.randn(width, width)
    found: list[float] = []
    for kernels in ("default", "onednn"):
        with using(kernels):
            torch.mm(a, b)
            for _ in range(repeats):
                started = time.process_time()
                torch.mm(a, b)
                found.append(2 * width**3 * threads / (time.process_time() - started))
    return max(found)


def gpu_peak(width: int = 8192) -> float:
    a, b = (torch.randn(width, width, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * width**3 / gpu_seconds(lambda: torch.mm(a, b))


def gpu_bandwidth(gigabytes: int = 4) -> float:
    """Bytes a second that a GPU reads from its memory."""
    memory = torch.ones(gigabytes * 2**28, device="cuda")
    return memory.numel() * 4 / gpu_seconds(lambda: memory.sum())


def gpu_seconds(work: Callable[[], object], repeats: int = 20) -> float:
    """Of one among so many, one behind the other, after three more."""
    for _ in range(3):
        work()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(repeats):
        work()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3 / repeats


def bandwidth(threads: int, megabytes: int = 256, repeats: int = 5) -> float:
    """Bytes a second that can be read, by the clock."""
    torch.set_num_threads(threads)
    memory = torch.ones(megabytes * 2**18)
    seconds: list[float] = []
    for _ in range(repeats):
        started = time.perf_counter()
        memory.sum()
        seconds.append(time.perf_counter() - started)
    return megabytes * 2**20 / min(seconds)


def model_shape(size: str) -> Shape:
    return shape_of_config(config_of(size).to_dict(), name=size)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    threads = parser.parse_args().threads
    row = {
        "bench": "machine",
        "threads": threads,
        "gigaflops": round(best_peak(threads) / 1e9),
        "gigabytes_read_a_second": round(bandwidth(threads) / 1e9, 1),
        "models": {size: model_shape(size).parameters for size in SIZES},
    }
    print(json.dumps(row))

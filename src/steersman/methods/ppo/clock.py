"""Seconds by stage of an iteration."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from steersman.train.profiling import phase


class Clock:
    """Measures stages: `with clock.stage("collect"): …`. Each stage is a phase of torch's profiler too."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        with phase(name):
            yield
        self.seconds[name] = time.perf_counter() - started

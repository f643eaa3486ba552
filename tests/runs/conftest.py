"""Small programs run beside the test, so that they can be killed or starved without harming it."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_program() -> Iterator[Start]:
    """Starts a Python text with arguments; its output is a pipe, and it is ended with the test."""
    running: list[subprocess.Popen[str]] = []

    def start(text: str, *arguments: object) -> "subprocess.Popen[str]":
        program = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
        )
        running.append(program)
        return program

    yield start
    for program in running:
        program.kill()
        program.communicate()

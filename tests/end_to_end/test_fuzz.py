"""The first cases of the fuzz with a fixed seed (bench/fuzz.py); `make fuzz` runs 10,000."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("cases", [200])
def test_mutated_input_of_every_command_ends_in_a_message(cases):
    words = [sys.executable, "bench/fuzz.py", "--seed", "2026", "--cases", str(cases)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert f" {cases} cases " in done.stdout

"""The built wheel, installed in an empty environment somewhere else, tells the same story as the checkout."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def test_the_wheel_holds_everything_that_is_not_code(tmp_path):
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    names = run(sys.executable, "-m", "zipfile", "-l", wheel, cwd=tmp_path)
    for needed in (
        "harbour/base/model.safetensors",
        "harbour/resources/answers.jsonl.gz",
        "recipes/sft-harbour.toml",
        "py.typed",
        "licenses/LICENSE",
    ):
        assert needed in names, needed


@pytest.mark.soak
def test_the_wheel_runs_the_demo_in_an_empty_environment(tmp_path):
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "empty", cwd=tmp_path)
    python = tmp_path / "empty" / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    run(python, "-m", "pip", "install", "-q", "-c", constraints, "torch", cwd=tmp_path)
    run(python, "-m", "pip", "install", "-q", "-c", constraints, wheel, cwd=tmp_path)
    told = json.loads(
        run(tmp_path / "empty" / "bin" / "steersman", "quickstart", "--fast", "--out", "story", "--json", cwd=tmp_path)
    )
    assert told
    assert (tmp_path / "story" / "report.html").exists()

"""`bench/gpu_all.py` keeps every result, whatever a step does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "bench"))

from gpu_all import STEPS, TESTS, Results, Step, run_step

BENCH = Path(__file__).parents[1] / "bench"
PRINTS = "print('{\"n\": 1}', flush=True); print('not json');"


def ran(tmp_path, code: str, seconds: float = 60.0) -> list[dict]:
    step = Step("one", seconds, lambda tiny: [sys.executable, "-c", code])
    run_step(step, seconds, True, Results(tmp_path / "out.jsonl"))
    return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]


def test_a_step_that_fails_keeps_its_results_and_says_why(tmp_path):
    first, last = ran(tmp_path, PRINTS + "raise SystemExit('broken')")
    assert first == {"step": "one", "n": 1}
    assert last["ended"] == 1
    assert last["said"] == ["not json", "broken"]


def test_a_step_that_hangs_is_stopped_after_its_budget(tmp_path):
    first, last = ran(tmp_path, PRINTS + "import time; time.sleep(600)", 5.0)
    assert first["n"] == 1
    assert "budget of 5 s" in last["stopped"]


def test_a_step_that_cannot_start_is_a_line(tmp_path):
    run_step(Step("none", 5, lambda tiny: ["/nothing/there"]), 5, True, Results(tmp_path / "out.jsonl"))
    assert "failed" in json.loads((tmp_path / "out.jsonl").read_text())


def test_what_does_not_fit_the_time_is_left_out_and_said(tmp_path):
    words = [
        sys.executable,
        str(BENCH / "gpu_all.py"),
        "--tiny",
        "--minutes",
        "0",
        "--out",
        str(tmp_path / "out.jsonl"),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["step"] for row in rows] == [step.name for step in STEPS]
    assert all("left out" in row for row in rows)


def test_every_step_of_tests_names_files_that_are_there():
    words = [word for step in STEPS if step.name.startswith("tests") for word in step.command(False)]
    assert {word for word in words if word.endswith(".py")} == set(TESTS)
    assert all((BENCH.parent / name).is_file() for name in TESTS)
    # what these two steps choose among the tests
    assert "gpu" in (BENCH.parent / TESTS[1]).read_text()
    assert "pytest.mark.slow" in (BENCH.parent / TESTS[5]).read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_step_runs_tiny_on_a_processor(tmp_path):
    out = tmp_path / "out.jsonl"
    words = [sys.executable, str(BENCH / "gpu_all.py"), "--tiny", "--minutes", "14", "--out", str(out)]
    subprocess.run(words, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    ended = {row["step"]: row for row in rows if "ended" in row}
    assert set(ended) == {step.name for step in STEPS if step.tiny}
    assert {row["step"] for row in rows if "left out" in row} == {step.name for step in STEPS if not step.tiny}
    assert {name: row for name, row in ended.items() if row["ended"] != 0} == {}
    assert [row for row in rows if "failed" in row] == []
    assert {row["variant"] for row in rows if row.get("bench") == "update"} >= {"plain", "compiled, recorded"}
    assert {row["cache"] for row in rows if row.get("bench") == "long answers"} == {"whole", "paged", "paged, split"}
    assert {row["layout"] for row in rows if row.get("bench") == "iteration"} == {"shared", "adapters"}
    assert all(row["said"] and row["planned_gb"] > 0 for row in rows if row.get("bench") == "iteration")

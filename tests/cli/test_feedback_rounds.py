"""Rounds of feedback on real commands: the recipe and the commands of the page, with tiny numbers."""

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commandline import call
from forked import run_command
from shown import ROOT, shown

from steersman.runs.hashes import hash_of
from steersman.runs.lock import holder_of

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "feedback-rounds.md"
IN_HASTE = [
    *("sft.model.path=tiny:llama", "sft.data.source=harbour:demonstrations?count=24", "sft.data.held_out=none"),
    *("sft.train.steps=2", "rounds.prompts.source=harbour:prompts?count=40", "rounds.prompts.count=8"),
    *("rounds.prompts.held_out=0.2", "rounds.labels.count=12", "rounds.sample.max_new_tokens=6"),
    *("rounds.reward.train.steps=1", "rounds.reward.train.batch_size=8", "rounds.ppo.iterations=1"),
    *("rounds.ppo.prompts_per_iteration=4", "rounds.ppo.sampling.max_new_tokens=6", "rounds.ppo.update.minibatches=1"),
    *("rounds.evaluate.drawing.max_new_tokens=6", "rounds.evaluate.run.threads=1", "rounds.evaluate.resamples=100"),
]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    recipe = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    (tmp_path / "feedback.toml").write_text(recipe)
    return tmp_path


def test_the_commands_of_the_page_run(place, capsys):
    lines = [shlex.split(line)[1:] for line in shown(PAGE)]
    assert [words[1] for words in lines] == ["run", "status", "reject", "promote", "rollback", "run"]
    ran: list[list[str]] = []
    for words in lines:
        assert call([*words, *IN_HASTE, "--json"]) == 0, words
        found = json.loads(capsys.readouterr().out)
        ran += [found["ran"]] if "ran" in found else []
        if words[1] == "status":
            assert [row["round"] for row in found["rounds"]] == [1, 2]
            assert all(row["reason"] and row["wins"] and row["kl"] is not None for row in found["rounds"])
            assert [row["labels"] for row in found["rounds"]] == [12, 12]
            assert {row["scorer"] for row in found["rounds"]} == {"taste"}
    assert [len(ran[0]), ran[1]] == [20, ["promote-2"]]
    promoted = next(path for path in Path("runs/feedback").glob("promote-1-*") if path.is_dir())
    assert call(["lineage", str(promoted), "--json"]) == 0
    up = json.loads(capsys.readouterr().out)["ancestors"]
    assert [one["kind"] for one in up] == ["ppo", "sft", "evaluate"]
    assert "reward" in [one["kind"] for one in up[0]["parents"]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder in which all rounds of the page's recipe have run, in haste."""
    folder = tmp_path_factory.mktemp("rounds")
    (folder / "feedback.toml").write_text(re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)[0])
    done = run_command(["rounds", "run", "feedback.toml", *IN_HASTE], cwd=folder, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_a_changed_setting_runs_its_stage_and_what_follows_and_an_unchanged_recipe_nothing(
    finished, monkeypatch, capsys
):
    monkeypatch.chdir(finished)

    def would_run(*settings: str) -> set[str]:
        assert call(["rounds", "explain", "feedback.toml", *IN_HASTE, *settings, "--json"]) == 0
        return {one["name"] for one in json.loads(capsys.readouterr().out)["stages"] if one["standing"] != "done"}

    last = {"evaluate-2", "promote-2"}
    assert would_run() == set()
    assert would_run("promote-1.guards=[]") == {
        *("promote-1", "sample-2", "labels-2", "gate-2", "reward-2", "ppo-2", *last)
    }
    assert would_run("ppo-2.kl.coefficient=0.2") == {"ppo-2", *last}
    assert would_run("reward-2.train.steps=2") == {"reward-2", "ppo-2", *last}
    assert would_run("evaluate-2.resamples=150") == last
    done = run_command(
        ["rounds", "run", "feedback.toml", *IN_HASTE, "evaluate-2.resamples=150", "--json"], cwd=finished
    )
    assert json.loads(done.stdout)["ran"] == ["evaluate-2", "promote-2"]


def test_an_unchanged_recipe_of_rounds_imports_no_torch(finished):
    program = (
        f"import sys; sys.argv = {['steersman', 'rounds', 'run', 'feedback.toml', *IN_HASTE]!r}\n"
        "from steersman.cli.main import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=finished, env=environment()
    )
    assert "0 of 20 stages ran" in shown.stdout
    assert shown.stdout.splitlines()[-1] == "False"


def test_a_second_run_of_the_same_rounds_is_refused_at_once(finished, monkeypatch, capsys):
    """The first is at work on a later stage."""
    monkeypatch.chdir(finished)
    changed = [*IN_HASTE, "ppo-2.iterations=5000"]
    words = [sys.executable, "-m", "steersman", "rounds", "run", "feedback.toml", *changed]
    first = subprocess.Popen(words, env=environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        while holder_of(finished / "runs" / "feedback") is None:
            assert first.poll() is None
            time.sleep(0.1)
        began = time.process_time()
        assert call(["rounds", "run", "feedback.toml", *changed]) != 0
        assert time.process_time() - began < 1
        assert f"process {first.pid}" in capsys.readouterr().err
    finally:
        first.kill()
        first.wait()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def outputs_in(folder: Path) -> dict[str, str]:
    """Models, rows and decisions; not what holds times."""
    out = folder / "runs" / "feedback"
    kept = [
        *out.glob("*.jsonl"),
        *out.glob("*/model/*"),
        *out.glob("promote-*/*"),
        *out.glob("evaluate-*/answers.jsonl"),
    ]
    return {str(path.relative_to(out)): hash_of(path) for path in kept if path.is_file()}


def stages_begun(folder: Path) -> int:
    return sum(1 for _ in (folder / "runs" / "feedback" / "stages").glob("*.json"))


def killed_and_whole(place: Path, kills: int) -> tuple[dict[str, str], dict[str, str]]:
    """The outputs of three rounds that were killed so often, and of three that were not. A kill comes a random moment
    after a stage has begun; the stages are spread over the run, so that they are met on a machine of any speed."""
    words = [sys.executable, "-m", "steersman", "rounds", "run", "feedback.toml", *IN_HASTE, "rounds.count=3"]
    whole, killed = place / "whole", place / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        (folder / "feedback.toml").write_text((place / "feedback.toml").read_text())
    subprocess.run(words, env=environment(), cwd=whole, check=True, capture_output=True)
    chance, landed = random.Random(1), 0
    for after in sorted(chance.randint(1, stages_begun(whole)) for _ in range(kills)):
        process = subprocess.Popen(words, env=environment(), cwd=killed, stderr=subprocess.DEVNULL)
        while process.poll() is None and (
            stages_begun(killed) < after or holder_of(killed / "runs" / "feedback") is None
        ):
            time.sleep(0.05)
        time.sleep(chance.uniform(0.0, 0.5))
        process.kill()
        landed += process.wait() == -signal.SIGKILL
    # One that comes after the last stage finds nothing to kill.
    assert landed >= kills - 1 - kills // 5
    subprocess.run(words, env=environment(), cwd=killed, check=True, capture_output=True)
    return outputs_in(killed), outputs_in(whole)


@pytest.mark.soak
def test_killed_anywhere_the_same_command_comes_to_the_same_hashes(place):
    killed, whole = killed_and_whole(place, 20)
    assert len(whole) > 60
    assert killed == whole


def test_after_four_kills_the_hashes_are_the_same(place):
    killed, whole = killed_and_whole(place, 4)
    assert len(whole) > 60
    assert killed == whole


@pytest.mark.parametrize("kind", ["sample-1", "labels-2", "gate-1", "reward-2", "ppo-1", "promote-1"])
def test_one_command_rebuilds_an_output_of_any_stage_with_the_same_bytes(finished, kind, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(finished)
    (path,) = (
        one for one in (finished / "runs" / "feedback").glob(f"{kind}-*") if not one.name.endswith((".lineage", ".log"))
    )
    out = tmp_path / path.name
    assert call(["lineage", "rebuild", str(path.relative_to(finished)), "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["identical"], found["differing"]) == (True, [])
    assert out.exists()

"""Two processes ask one service for rewards: what stays away for one of them ends both with a checkpoint, and nothing
is paid twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from forked import Ended, run_command
from moody_server import moody_server
from safetensors.torch import load_file

from steersman.models.tiny import write_tiny_model
from steersman.runs.checkpoints import CheckpointStore

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("service")
    write_tiny_model(folder / "policy", "llama", layers=2)
    rows = "".join(json.dumps({"prompt": f"Tell me of {i}."}) + "\n" for i in range(5))
    (folder / "prompts.jsonl").write_text(rows)
    return folder


def words_of(place: Path, out: Path, url: str) -> list[str]:
    return [
        *("ppo", "--model", str(place / "policy"), "--scorer", url),
        *("--prompts", str(place / "prompts.jsonl"), "prompts.held_out=none", "--out", str(out), "iterations=3"),
        *("prompts_per_iteration=5", "samples_per_prompt=2", "sampling.max_new_tokens=6", "run.threads=1"),
        *("update.epochs=1", "update.minibatches=2", "compute.kernels=default", "run.device=cpu"),
        *('scorer.http.allow=["127.0.0.1"]', "scorer.http.patience=1", "run.checkpoint_every=10"),
    ]


def ppo(place: Path, out: Path, url: str) -> Ended:
    return run_command(words_of(place, out, url), processes=2)


def launched_ppo(place: Path, out: Path, url: str) -> subprocess.CompletedProcess[str]:
    """By torchrun, whose report has the exit codes."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "steersman"]
    usual = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    words = [sys.executable, *launch, *words_of(place, out, url)]
    return subprocess.run(words, capture_output=True, text=True, env=usual, timeout=400, check=False)


def test_an_outage_that_one_process_meets_ends_both_in_a_checkpoint_and_the_run_goes_on(place, tmp_path):
    with moody_server() as server:
        whole = ppo(place, tmp_path / "whole", server.url)
        assert whole.returncode == 0, whole.stderr[-3000:]
        paid = len(server.answered)
        before = len(server.requests)

        def moods(number: int) -> str:
            """Of the second iteration's two requests the first one is never answered, however often it is made."""
            keys = list(dict.fromkeys(r["headers"]["Idempotency-Key"] for r in server.requests[before : number + 1]))
            cursed = len(keys) > 2 and server.requests[number]["headers"]["Idempotency-Key"] == keys[2]
            return "status 503" if cursed else "well"

        server.moods = moods
        parted = launched_ppo(place, tmp_path / "parted", server.url)
        assert parted.returncode != 0
        assert "gave no usable reply" in parted.stderr
        assert "so this rank stops too: ServiceError" in parted.stderr
        assert "exitcode  : 9" in parted.stderr
        store = CheckpointStore(tmp_path / "parted" / "checkpoints")
        point = store.latest()
        assert point is not None
        assert (point.step, store.verify(point.path)) == (1, [])
        server.moods = lambda number: "well"
        again = ppo(place, tmp_path / "parted", server.url)
        assert again.returncode == 0, again.stderr[-3000:]
        assert len(server.answered) == 2 * paid
    ours, theirs = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("parted", "whole"))
    assert all((ours[name] == theirs[name]).all() for name in theirs)

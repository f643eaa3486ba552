"""A small model, demonstrations to learn from, and runs of them that nothing disturbed."""

import json
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

pytest.register_assert_rewrite("killing")

from killing import Command, Forked, Life, live, wait, wait_until  # noqa: E402

from steersman.models.tiny import write_tiny_model  # noqa: E402

STEPS = 60


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("faults") / "llama", "llama")


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory) -> Path:
    """Rows of different lengths, and one that is malformed."""
    draw = random.Random(0)
    words = ["dog", "game", "heart", "mind", "friend", "story", "answer", "summary", "cricket", "exercise"]
    path = tmp_path_factory.mktemp("faults") / "demonstrations.jsonl"
    rows = [
        {"prompt": f"Tell me {i}.", "completion": " ".join(draw.choices(words, k=draw.randint(2, 14)))}
        for i in range(90)
    ]
    lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join([*lines[:40], '{"prompt": "half a', *lines[40:]]) + "\n")
    return path


@pytest.fixture(scope="session")
def judgements(tmp_path_factory) -> Path:
    """Pairs, rankings and thumbs of different lengths, and one row that is malformed."""
    draw = random.Random(0)
    words = ["dog", "game", "heart", "mind", "friend", "story", "answer", "summary", "cricket", "exercise"]

    def answer() -> dict:
        return {"text": " ".join(draw.choices(words, k=draw.randint(2, 14)))}

    rows: list[dict] = []
    for i in range(80):
        prompt = {"messages": [{"role": "user", "content": f"Tell me {i}."}]}
        if i % 8 == 0:
            ranking = {"kind": "ranking", "completions": [answer() for _ in range(4)], "ranks": [2, 1, 4, 2]}
            rows.append({**ranking, "prompt": prompt})
        elif i % 8 == 1:
            rows.append({"kind": "label", "prompt": prompt, "completion": answer(), "desirable": i % 3 == 0})
        else:
            pair = {"kind": "comparison", "first": answer(), "second": answer(), "preference": draw.choice([0, 0.5, 1])}
            rows.append({**pair, "prompt": prompt, "margin": draw.choice([1.0, 3.0])})
    lines = [json.dumps(row) for row in rows]
    path = tmp_path_factory.mktemp("faults") / "judgements.jsonl"
    path.write_text("\n".join([*lines[:40], '{"kind": "comp', *lines[40:]]) + "\n")
    return path


@pytest.fixture(scope="session")
def sft_command(tiny_llama, demonstrations):
    """The command line of a run of some seconds, for further settings; everything that bit-exactness needs is fixed."""

    def command(*more: str) -> Command:
        def words(folder: Path) -> Sequence[str]:
            return [
                *("steersman", "sft", "--model", str(tiny_llama), "--data", str(demonstrations), "--out", str(folder)),
                *("--device", "cpu", "run.threads=1", "train.kernels=default", "optimiser.learning_rate=3e-3"),
                *(f"train.steps={STEPS}", "train.batch_size=8", "train.evaluate_every=6", "run.checkpoint_every=5"),
                *("train.tokens_per_micro_batch=128", "data.held_out=0.15", *more),
            ]

        return words

    return command


@pytest.fixture(scope="session")
def whole_sft(sft_command, tmp_path_factory) -> Life:
    """Full fine-tuning that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return live(Forked, sft_command(), folder, folder.parent / "log.txt")


@pytest.fixture(scope="session")
def killed_sft(sft_command, tmp_path_factory) -> Path:
    """The same run, killed in its middle."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    running = Forked(sft_command()(folder), folder.parent / "log.txt")
    assert wait_until(running, lambda: (folder / "checkpoints" / "step-000035").exists())
    os.kill(running.pid, signal.SIGKILL)
    assert wait(running) == -signal.SIGKILL
    return folder

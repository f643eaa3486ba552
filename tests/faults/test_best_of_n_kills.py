"""best-of-n that is killed at any moment, while it samples, scores or fine-tunes, ends as if nothing had happened, to
the bit."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from killing import Forked, assert_same_run, kill_along, live

pytestmark = pytest.mark.slow


def test_best_of_n_survives_four_kills_to_the_bit(tiny_llama, tmp_path):
    (tmp_path / "reward.py").write_text("def vowels(answer):\n    return sum(answer.count(c) for c in 'aeiou') / 5\n")
    prompts = [json.dumps({"prompt": f"Tell me {i}."}) for i in range(200)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(prompts) + "\n")

    def command(out: Path) -> Sequence[str]:
        return [
            *("steersman", "best-of-n", "--model", str(tiny_llama), "--scorer", f"{tmp_path / 'reward.py'}:vowels"),
            *("--prompts", str(tmp_path / "prompts.jsonl"), "--out", str(out), "--device", "cpu", "run.threads=1"),
            *("n=4", "sampling.max_new_tokens=8", "train.kernels=default", "train.tokens_per_micro_batch=128"),
            *("train.epochs=2", "train.batch_size=8", "train.evaluate_every=10", "run.checkpoint_every=5"),
        ]

    whole = live(Forked, command, tmp_path / "whole", tmp_path / "whole.txt")
    kills = kill_along(Forked, command, tmp_path / "run", tmp_path / "log.txt", whole, kills=4, seed=2, least=3)
    assert sum(kill.landed for kill in kills) >= 3
    assert_same_run(tmp_path / "run", whole.folder)
    for name in ("answers.jsonl", "scored.jsonl", "chosen.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (whole.folder / name).read_bytes(), name
    assert any(kill.moment.rows == 0 for kill in kills), "one came before the first step"

"""Critique and revision that is killed at any moment ends with the same records as if nothing had happened."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from killing import Forked, kill_along, live, rows_without_times
from plainly import write_rows

pytestmark = pytest.mark.slow


def test_revisions_survive_four_kills_to_the_byte(tiny_llama, tmp_path):
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"Tell me {i}."} for i in range(120)])

    def command(out: Path) -> Sequence[str]:
        return [
            *("steersman", "constitution", "revise", "--model", str(tiny_llama), "--prompts", str(prompts)),
            *("--constitution", "harbour", "--rounds", "2", "--out", str(out), "--device", "cpu", "run.threads=1"),
            *("sampling.max_new_tokens=8", "prompts_at_once=6"),
        ]

    whole = live(Forked, command, tmp_path / "whole", tmp_path / "whole.txt")
    kills = kill_along(Forked, command, tmp_path / "run", tmp_path / "log.txt", whole, kills=4, seed=3, least=3)
    assert sum(kill.landed for kill in kills) >= 3
    assert rows_without_times(tmp_path / "run") == rows_without_times(whole.folder)
    assert texts(tmp_path / "run") == texts(whole.folder)
    assert len(texts(whole.folder)) == 20


def texts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "critiques").glob("*.jsonl")}

"""ILQL, killed at any moment and started again, ends as if nothing had happened: policy, Q heads, and the targets that
follow them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from killing import Command, Forked, Fresh, assert_same_run, end_state, kill_along, live

SETTINGS = {"full": ("imitation_beta=0.5",), "LoRA": ("model.lora.rank=4", "train.keep=best")}


@pytest.fixture
def ilql_command(tiny_llama, judgements) -> Callable[[str], Command]:
    """The command line of a run of some seconds; everything that bit-exactness needs is fixed."""

    def command(name: str) -> Command:
        def words(folder: Path) -> Sequence[str]:
            return [
                *("steersman", "ilql", f"model.path={tiny_llama}", f"data.source={judgements}", "data.held_out=0.2"),
                *("run.device=cpu", "run.threads=1", "train.kernels=default", "optimiser.learning_rate=3e-3"),
                *("train.steps=40", "train.batch_size=8", "train.evaluate_every=6", "run.checkpoint_every=5"),
                *("train.tokens_per_micro_batch=256", "polyak=0.1", *SETTINGS[name], f"run.out={folder}"),
            ]

        return words

    return command


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), [("full", 1), ("LoRA", 2)])
def test_two_kills_change_no_bit_of_q_learning(name, seed, ilql_command, tmp_path):
    command = ilql_command(name)
    whole = live(Forked, command, tmp_path / "whole", tmp_path / "whole.txt")
    done = kill_along(Forked, command, tmp_path / "run", tmp_path / "log.txt", whole, kills=2, seed=seed)
    assert any(kill.landed for kill in done)
    assert "model/heads.safetensors" in end_state(whole.folder)
    assert_same_run(tmp_path / "run", whole.folder)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", SETTINGS)
def test_ten_kills_of_real_processes_change_no_bit_of_q_learning(name, ilql_command, tmp_path):
    command = ilql_command(name)
    whole = live(Fresh, command, tmp_path / "whole", tmp_path / "whole.txt")
    landed = writing = lives = 0
    while landed < 10:
        out, log = tmp_path / f"run-{lives}", tmp_path / f"log-{lives}.txt"
        kills = kill_along(Fresh, command, out, log, whole, kills=min(5, 10 - landed), seed=400 + lives)
        assert_same_run(out, whole.folder)
        landed += sum(kill.landed for kill in kills)
        writing += sum(kill.writing and kill.landed for kill in kills)
        lives += 1
    print(f"\nilql {name}: {landed} kills in {lives} runs, {writing} while a checkpoint was written; all bit-exact")

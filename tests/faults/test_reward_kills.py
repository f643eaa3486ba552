"""A reward model, its adapter, or an ensemble, killed at any moment and started again, ends as if nothing had
happened."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from killing import Command, Forked, Fresh, assert_same_run, kill_along, live, runs_in

SETTINGS = {"full": (), "LoRA": ("model.lora.rank=4",), "ensemble": ("members=2", "model.lora.rank=2")}


@pytest.fixture(scope="session")
def reward_command(tiny_llama, judgements) -> Callable[..., Command]:
    """The command line of a run of some seconds, for further settings; everything that bit-exactness needs is fixed."""

    def command(*more: str) -> Command:
        def words(folder: Path) -> Sequence[str]:
            steps = 20 if "members=2" in more else 40
            return [
                *("steersman", "reward", "--model", str(tiny_llama), "--data", str(judgements), "--out", str(folder)),
                *("--device", "cpu", "run.threads=1", "train.kernels=default", "optimiser.learning_rate=3e-3"),
                *(f"train.steps={steps}", "train.batch_size=8", "train.evaluate_every=6", "run.checkpoint_every=5"),
                *("train.tokens_per_micro_batch=256", "data.held_out=0.2", "use_margin=true", *more),
            ]

        return words

    return command


def assert_same_reward(folder: Path, whole: Path) -> None:
    """Besides the run itself: the scale of the scores, and the report."""
    assert_same_run(folder, whole)
    assert len(runs_in(folder)) == len(runs_in(whole))
    for run, other in zip(runs_in(folder), runs_in(whole), strict=True):
        for name in ("model/steersman.json", "quality.json"):
            assert (run / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kills", "seed"), [("full", 1, 1), ("LoRA", 1, 2), ("ensemble", 2, 3)])
def test_four_kills_over_all_kinds_of_reward_models_change_no_bit(name, kills, seed, reward_command, tmp_path):
    command = reward_command(*SETTINGS[name])
    whole = live(Forked, command, tmp_path / "whole", tmp_path / "whole.txt")
    done = kill_along(Forked, command, tmp_path / "run", tmp_path / "log.txt", whole, kills=kills, seed=seed)
    assert any(kill.landed for kill in done)
    assert_same_reward(tmp_path / "run", whole.folder)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", SETTINGS)
def test_twenty_kills_of_real_processes_change_no_bit_of_a_reward_model(name, reward_command, tmp_path):
    command = reward_command(*SETTINGS[name])
    whole = live(Fresh, command, tmp_path / "whole", tmp_path / "whole.txt")
    landed = writing = lives = 0
    while landed < 20:
        out, log = tmp_path / f"run-{lives}", tmp_path / f"log-{lives}.txt"
        kills = kill_along(Fresh, command, out, log, whole, kills=min(5, 20 - landed), seed=100 + lives)
        assert_same_reward(out, whole.folder)
        landed += sum(kill.landed for kill in kills)
        writing += sum(kill.writing and kill.landed for kill in kills)
        lives += 1
    print(
        f"\nreward {name}: {landed} kills in {lives} runs, {writing} of them while a checkpoint was written; all "
        "bit-exact"
    )

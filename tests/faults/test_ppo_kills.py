"""PPO that is killed at any moment and started again ends as if nothing had happened, to the bit."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from killing import Command, Forked, Fresh, assert_same_run, count_rows, kill_along, live, wait, wait_until

pytestmark = pytest.mark.slow

SETTINGS = {
    "full, fixed KL": (),
    "LoRA, adaptive KL": (
        *("model.lora.rank=4", "layout=adapters-own-critic", "kl.controller=adaptive", "kl.target=0.01"),
        *("kl.horizon=100", "score.normalise=running", "keep=best"),
    ),
    "RLOO": (
        *("advantage.estimator=rloo", "prompts_per_iteration=3", "samples_per_prompt=3"),
        *("advantage.leave_out_equal=true", "score.overlong_tokens=4"),
    ),
    "preference over reference answers": ("score.preference_over=2",),
    "watched": (
        *("kl.coefficient=0", "watch.action=restore", "watch.held_out_scorer.path=FOLDER/reward.py:consonants"),
        *("watch.held_out_every=2", "watch.held_out_answers=6", "watch.actions.kl=raise-kl", "watch.limits.kl=0.5"),
        *("watch.limits.novelty=none", "watch.limits.takeover=none", "watch.limits.fall=3"),
        "watch.limits.collapse=none",
    ),
}
LETTERS = (("vowels", "aeiou"), ("consonants", "nrst"))


@pytest.fixture(scope="session")
def ppo_command(tiny_llama, tmp_path_factory):
    """The command line of a run of some seconds, for further settings."""
    folder = tmp_path_factory.mktemp("ppo")
    rewards = (
        f"def {name}(answer):\n    return sum(answer.count(c) for c in {letters!r}) / 5\n" for name, letters in LETTERS
    )
    (folder / "reward.py").write_text("".join(rewards))
    prompts = [json.dumps({"prompt": f"Tell me {i}."}) for i in range(30)]
    (folder / "prompts.jsonl").write_text("\n".join(prompts) + "\n")

    def command(*more: str) -> Command:
        def words(out: Path) -> Sequence[str]:
            return [
                *("steersman", "ppo", "--model", str(tiny_llama), "--scorer", f"{folder / 'reward.py'}:vowels"),
                *("--prompts", str(folder / "prompts.jsonl"), "--out", str(out), "--device", "cpu", "run.threads=1"),
                *("compute.kernels=default", "compute.tokens_per_micro_batch=128", "optimiser.learning_rate=3e-3"),
                *("iterations=24", "prompts_per_iteration=8", "sampling.max_new_tokens=8", "run.checkpoint_every=3"),
                *("update.epochs=2", "update.minibatches=2", "evaluation.every=4", "prompts.held_out=0.2"),
                *(word.replace("FOLDER", str(folder)) for word in more),
            ]

        return words

    return command


@pytest.mark.parametrize("name", SETTINGS)
def test_ppo_survives_four_kills_to_the_bit(name, ppo_command, tmp_path):
    command = ppo_command(*SETTINGS[name])
    whole = live(Forked, command, tmp_path / "whole", tmp_path / "whole.txt")
    kills = kill_along(Forked, command, tmp_path / "run", tmp_path / "log.txt", whole, kills=4, seed=3, least=3)
    assert sum(kill.landed for kill in kills) >= 3
    assert_same_run(tmp_path / "run", whole.folder)
    assert samples_of(tmp_path / "run") == samples_of(whole.folder)
    assert watched(tmp_path / "run") == watched(whole.folder)
    assert name != "watched" or watched(whole.folder)


def watched(folder: Path) -> str:
    path = folder / "watch.jsonl"
    return path.read_text() if path.exists() else ""


def samples_of(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "samples").glob("*.jsonl")}


def test_sigterm_saves_exits_with_75_and_the_run_goes_on_to_the_same_bits(ppo_command, tmp_path):
    command = ppo_command()
    whole = live(Forked, command, tmp_path / "whole", tmp_path / "whole.txt")
    folder, log = tmp_path / "run", tmp_path / "log.txt"
    running = Forked(command(folder), log)
    assert wait_until(running, lambda: count_rows(folder) >= 7)
    os.kill(running.pid, signal.SIGTERM)
    assert wait(running, seconds=120) == 75
    assert json.loads((folder / "ending.json").read_text())["state"] == "stopped"
    assert not (folder / "model").exists()
    assert wait(Forked(command(folder), log)) == 0
    assert_same_run(folder, whole.folder)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", SETTINGS)
def test_twenty_kills_of_real_processes_change_no_bit_of_ppo(name, ppo_command, tmp_path):
    command = ppo_command(*SETTINGS[name])
    whole = live(Fresh, command, tmp_path / "whole", tmp_path / "whole.txt")
    landed = writing = lives = 0
    while landed < 20:
        out, log = tmp_path / f"run-{lives}", tmp_path / f"log-{lives}.txt"
        kills = kill_along(Fresh, command, out, log, whole, kills=min(5, 20 - landed), seed=200 + lives)
        assert_same_run(out, whole.folder)
        landed += sum(kill.landed for kill in kills)
        writing += sum(kill.writing and kill.landed for kill in kills)
        lives += 1
    print(f"\nppo {name}: {landed} kills in {lives} runs, {writing} while a checkpoint was written; all bit-exact")

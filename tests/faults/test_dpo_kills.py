"""DPO, KTO or online DPO, killed at any moment and started again, ends as if nothing had happened: while it asks the
reference, samples pairs, learns, saves, or measures how far it went."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from killing import Command, Forked, Fresh, assert_same_run, kill_along, live

SETTINGS = {
    "dpo": ("use_margin=true", "likelihood=0.2"),
    "kto": ("loss=kto", "model.lora.rank=4"),
    "online": ("samples_per_prompt=3",),
}


@pytest.fixture(scope="session")
def dpo_command(tiny_llama, judgements, tmp_path_factory) -> Callable[[str], Command]:
    """The command line of a run of some seconds; everything that bit-exactness needs is fixed."""
    place = tmp_path_factory.mktemp("online")
    (place / "reward.py").write_text("def vowels(answer):\n    return sum(answer.count(c) for c in 'aeiou') / 5\n")
    (place / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"Tell me {i}."}) + "\n" for i in range(30)))

    def command(name: str) -> Command:
        usual = (
            *("run.device=cpu", "run.threads=1", "train.kernels=default", "optimiser.learning_rate=3e-3"),
            *("train.batch_size=8", "train.evaluate_every=6", "run.checkpoint_every=5", f"model.path={tiny_llama}"),
            *("train.tokens_per_micro_batch=256", *SETTINGS[name]),
        )
        from_people = (
            *("steersman", "dpo", f"data.source={judgements}", "data.held_out=0.2", "train.steps=40"),
            "distance.max_new_tokens=12",
        )
        online = (
            *("steersman", "online-dpo", f"scorer.path={place / 'reward.py'}:vowels", "train.steps=24"),
            *(f"prompts.source={place / 'prompts.jsonl'}", "prompts.held_out=0.2", "sampling.max_new_tokens=8"),
        )

        def words(folder: Path) -> Sequence[str]:
            return [*(online if name == "online" else from_people), *usual, f"run.out={folder}"]

        return words

    return command


def assert_same_opinions(folder: Path, whole: Path) -> None:
    """What the reference was asked before the first step: all of it, to the bit. Online it is asked step by step."""
    if not (whole / "tokens").exists():
        return
    files = [
        path for path in sorted((whole / "tokens").glob("*.bin")) if path.name.startswith(("reference", "strangers"))
    ]
    assert files
    for path in files:
        assert (folder / "tokens" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), [("dpo", 1), ("kto", 2), ("online", 3)])
def test_two_kills_change_no_bit_of_what_is_learned_from_judgements(name, seed, dpo_command, tmp_path):
    command = dpo_command(name)
    whole = live(Forked, command, tmp_path / "whole", tmp_path / "whole.txt")
    done = kill_along(Forked, command, tmp_path / "run", tmp_path / "log.txt", whole, kills=2, seed=seed)
    assert any(kill.landed for kill in done)
    assert_same_run(tmp_path / "run", whole.folder)
    assert_same_opinions(tmp_path / "run", whole.folder)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", SETTINGS)
def test_ten_kills_of_real_processes_change_no_bit_of_what_is_learned_from_judgements(name, dpo_command, tmp_path):
    command = dpo_command(name)
    whole = live(Fresh, command, tmp_path / "whole", tmp_path / "whole.txt")
    landed = writing = lives = 0
    while landed < 10:
        out, log = tmp_path / f"run-{lives}", tmp_path / f"log-{lives}.txt"
        kills = kill_along(Fresh, command, out, log, whole, kills=min(5, 10 - landed), seed=300 + lives)
        assert_same_run(out, whole.folder)
        assert_same_opinions(out, whole.folder)
        landed += sum(kill.landed for kill in kills)
        writing += sum(kill.writing and kill.landed for kill in kills)
        lives += 1
    print(f"\ndpo {name}: {landed} kills in {lives} runs, {writing} while a checkpoint was written; all bit-exact")

"""Fine-tuning that is killed at any moment and started again ends as if nothing had happened, to the bit."""

import pytest
from killing import Forked, Fresh, Kill, assert_same_run, kill_along, live

LORA = ("model.lora.rank=4",)
SETTINGS = {"full": (), "LoRA": LORA}


@pytest.mark.slow
def test_full_fine_tuning_survives_four_kills_to_the_bit(sft_command, whole_sft, tmp_path):
    kills = kill_along(
        Forked, sft_command(), tmp_path / "run", tmp_path / "log.txt", whole_sft, kills=4, seed=1, least=3
    )
    assert sum(kill.landed for kill in kills) >= 3
    assert_same_run(tmp_path / "run", whole_sft.folder)


@pytest.mark.slow
def test_lora_survives_four_kills_to_the_bit(sft_command, tmp_path):
    command = sft_command(*LORA)
    whole = live(Forked, command, tmp_path / "whole", tmp_path / "whole.txt")
    kills = kill_along(Forked, command, tmp_path / "run", tmp_path / "log.txt", whole, kills=4, seed=2, least=3)
    assert sum(kill.landed for kill in kills) >= 3
    assert_same_run(tmp_path / "run", whole.folder)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", SETTINGS)
def test_twenty_kills_of_real_processes_change_no_bit(name, sft_command, tmp_path):
    command = sft_command(*SETTINGS[name])
    whole = live(Fresh, command, tmp_path / "whole", tmp_path / "whole.txt")
    landed: list[Kill] = []
    lives = 0
    while len(landed) < 20:
        out, log = tmp_path / f"run-{lives}", tmp_path / f"log-{lives}.txt"
        kills = kill_along(Fresh, command, out, log, whole, kills=min(5, 20 - len(landed)), seed=100 + lives)
        assert_same_run(out, whole.folder)
        landed += [kill for kill in kills if kill.landed]
        lives += 1
        assert lives < 20, "most processes ended before they were killed"
    writing = sum(kill.writing for kill in landed)
    rows = sorted(kill.moment.rows for kill in landed)
    print(
        f"\nsft {name}: {len(landed)} kills in {lives} runs, {writing} while a checkpoint was written; after rows "
        f"{rows}"
    )

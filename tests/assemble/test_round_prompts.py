"""The stage `prompts`: held-out prompts stay held out in all rounds, and each round has others."""

import json
from pathlib import Path

import pytest

from steersman.assemble.round_prompts import PromptsResult, run_prompts
from steersman.data.load import load_records
from steersman.data.split import split_of
from steersman.errors import DataError, UsageError
from steersman.records import Prompt
from steersman.settings.base import load_settings
from steersman.settings.round_stages import PromptsStageSettings


@pytest.fixture
def source(tmp_path) -> Path:
    return write(tmp_path / "prompts.jsonl", range(200))


def write(path: Path, numbers) -> Path:
    path.write_text("".join(json.dumps({"prompt": f"Question {n}?"}) + "\n" for n in numbers))
    return path


def part(source: Path, *words: str, held_out: object = 0.2) -> tuple[PromptsResult, list[str]]:
    out = source.with_name("out.jsonl")
    given = [f"data.source={source}", f"out={out}", f"held_out={held_out}", "force=true", *words]
    result = run_prompts(load_settings(PromptsStageSettings, None, given), quiet=True)
    return result, [one.shown for one in load_records(str(out)) if isinstance(one, Prompt)]


def test_the_parts_share_no_prompt_and_together_have_all(source):
    held_out, learned = part(source, 'part="held out"')[1], part(source, "part=learned")[1]
    assert not {*held_out} & {*learned}
    assert len({*held_out, *learned}) == len(held_out) + len(learned) == 200
    assert 20 < len(held_out) < 60


def test_each_round_has_other_prompts_until_all_have_been_used(source):
    learned = part(source, "part=learned")[1]
    rounds = [part(source, "part=round", f"round={n}", "count=50")[1] for n in (1, 2, 3)]
    assert [len({*one}) for one in rounds] == [50, 50, 50]
    assert len({*rounds[0], *rounds[1], *rounds[2]}) == 150
    assert {*rounds[0], *rounds[1]} <= {*learned}
    result, again = part(source, "part=round", "round=4", "count=50")
    assert result.used_again == 200 - len(learned)
    assert set(again) & set(rounds[0])


def test_prompts_that_are_added_later_change_no_prompt_s_part(source):
    before = part(source, 'part="held out"')[1]
    write(source, range(300))
    after = part(source, 'part="held out"')[1]
    assert {*before} <= {*after}
    assert not ({*after} - {*before}) & {f"Question {n}?" for n in range(200)}


def test_a_second_source_is_held_out_and_left_out_of_the_first(source, tmp_path):
    other = write(tmp_path / "other.jsonl", range(190, 210))
    assert len(part(source, 'part="held out"', "count=12", held_out=other)[1]) == 12
    learned = part(source, "part=learned", held_out=other)[1]
    assert sorted(learned) == sorted(f"Question {n}?" for n in range(190))


def test_held_out_labels_of_the_reward_model_are_another_share(source):
    """Otherwise the prompts of a round would all be on one side of the reward model's own split."""
    prompts = [Prompt(text=text) for text in part(source, "part=learned")[1]]
    aside = [prompt for prompt in prompts if split_of(prompt, {"train": 0.8, "held out": 0.2}) == "held out"]
    assert 0.1 < len(aside) / len(prompts) < 0.3


@pytest.mark.parametrize(
    ("words", "message"),
    [(["part=round"], "needs round and count"), (["part=learned", "held_out=1.5"], "a share between 0 and 1")],
)
def test_wrong_settings_are_messages(source, words, message):
    with pytest.raises(UsageError, match=message):
        part(source, *words)


def test_nothing_left_is_a_message(source, tmp_path):
    with pytest.raises(DataError, match="no prompts are learned"):
        part(write(tmp_path / "few.jsonl", range(3)), "part=learned", held_out=write(tmp_path / "o.jsonl", range(3)))

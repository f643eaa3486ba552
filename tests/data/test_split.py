"""Splits: no prompt in two of them, the same every time, near the shares asked for."""

import json
from typing import Any

import pytest

from steersman.data.load import load_records
from steersman.data.split import read_shares, split_of, split_records
from steersman.errors import UsageError
from steersman.records import Comparison, Completion, Demonstration, Document, Message, Prompt

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def pairs(count):
    for number in range(count):
        prompt = Prompt((Message("user", f"Question {number // 3}?"),))
        yield Comparison(prompt, Completion(f"yes {number}"), Completion(f"no {number}"), 1.0, id=str(number))


@pytest.mark.slow
def test_no_prompt_stands_in_two_splits_and_no_record_is_lost(tmp_path):
    report = split_records(pairs(3000), tmp_path, shares=SHARES)
    records: dict[str, list[Any]] = {name: list(load_records(path)) for name, path in report.files.items()}
    prompts = {name: {record.prompt.shown for record in found} for name, found in records.items()}
    assert not prompts["train"] & prompts["test"]
    assert not prompts["train"] & prompts["validation"]
    assert not prompts["validation"] & prompts["test"]
    assert sorted((r for found in records.values() for r in found), key=lambda r: int(r.id)) == list(pairs(3000))
    # 1,000 prompts: five standard deviations of a binomial share of 0.1 are 0.047, of 0.8 0.063
    for name, share in SHARES.items():
        assert abs(report.records[name] / 3000 - share) < 0.065


def test_a_prompt_keeps_its_split_whatever_stands_around_it():
    few, many = list(pairs(30)), list(pairs(3000))
    assert [split_of(r, SHARES) for r in few] == [split_of(r, SHARES) for r in many[:30]]
    twin = Prompt((Message("user", "  QUESTION   0? "),))
    assert split_of(Demonstration(twin, Completion("x")), SHARES) == split_of(few[0], SHARES)


def test_the_split_is_the_same_on_every_machine():
    """Golden, from `printf 'split\\x1dtext 0' | b2sum -l 64`: a where the first bit is 0, so these may never change."""
    found = [split_of(Document(f"text {n}"), {"a": 0.5, "b": 0.5}) for n in range(12)]
    assert "".join(found) == "aaaababbbaba"


def test_by_opening_keeps_a_conversation_together():
    turns = [Message("user", "So it begins"), Message("assistant", "yes")]
    whole = [Prompt((*turns, Message("user", f"and {n}"))) for n in range(60)]
    assert len({split_of(p, SHARES) for p in whole}) > 1
    assert len({split_of(p, SHARES, by="opening") for p in whole}) == 1
    with pytest.raises(UsageError, match="by 'prompt' or 'opening'"):
        split_of(whole[0], SHARES, by="moon")


def test_splitting_twice_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        split_records(pairs(200), tmp_path / name, shares=SHARES, ending=".jsonl.gz")
    for split in SHARES:
        assert (tmp_path / "one" / f"{split}.jsonl.gz").read_bytes() == (
            tmp_path / "two" / f"{split}.jsonl.gz"
        ).read_bytes()


def test_a_failure_leaves_no_half_split(tmp_path):
    def failing():
        yield from pairs(10)
        raise UsageError("no more")

    with pytest.raises(UsageError, match="no more"):
        split_records(failing(), tmp_path, shares=SHARES)
    assert list(tmp_path.iterdir()) == []


def test_shares_are_read_as_people_write_them():
    assert read_shares("0.9,0.05,0.05") == {"train": 0.9, "validation": 0.05, "test": 0.05}
    assert read_shares("0.8, 0.2") == {"train": 0.8, "test": 0.2}
    assert read_shares("a=0.5,b=0.25,c=0.25") == {"a": 0.5, "b": 0.25, "c": 0.25}
    for wrong, reason in (
        ("0.5,0.1", "add up to 1"),
        ("1.5,-0.5", "between 0 and 1"),
        ("half,half", "cannot read"),
        ("0.25,0.25,0.25,0.25", "cannot read"),
        ("../a=0.5,b=0.5", "becomes a file name"),
    ):
        with pytest.raises(UsageError, match=reason):
            read_shares(wrong)


def test_files_hold_native_rows(tmp_path):
    report = split_records([Document("x")], tmp_path, shares={"train": 1.0})
    assert json.loads((tmp_path / "train.jsonl").read_text()) == {"kind": "document", "text": "x"}
    assert report.as_dict()["records"] == {"train": 1}


def test_a_place_at_the_edge_of_a_share_belongs_to_the_next_split(monkeypatch):
    for place, split in ((0, "a"), (2**63 - 2**10, "a"), (2**63, "b"), (2**64 - 1, "b")):
        monkeypatch.setattr("steersman.data.split.hash64", lambda words, place=place: place)
        assert split_of(Document("x"), {"a": 0.5, "b": 0.5}) == split


def test_a_place_beyond_shares_that_rounding_left_below_one_belongs_to_the_last_split(monkeypatch):
    monkeypatch.setattr("steersman.data.split.hash64", lambda words: 2**64 - 2**10)
    assert split_of(Document("x"), {"a": 0.5, "b": 0.4999999}) == "b"

"""No command trains on nothing: the message says what the rows are, and which command or setting wants them."""

import json

import pytest
from forked import run_command

from steersman.data.load import ReadReport
from steersman.data.wanted import who_wants
from steersman.records import KINDS

ROWS = {
    "thumbs": {"prompt": "Hi", "completion": "Hello", "label": True},
    "pairs": {"prompt": "Hi", "chosen": "Hello", "rejected": "Go"},
    "prompts": {"prompt": "Hi"},
    "demonstrations": {"prompt": "Hi", "completion": "Hello"},
    "texts": {"text": "A dog is a friend."},
    "classes": {"text": "A dog is a friend.", "label": "kind"},
    "empty answers": {"prompt": "Hi", "completion": " "},
    "empty": None,
}
THUMBS = "24 answers judged by themselves: `steersman dpo` with loss=kto and `steersman reward` learn"
PAIRS = "24 comparisons: `steersman reward` and `steersman dpo` learn from them; sft learns from the preferred"
PAIRS_CHOSEN = "with take_chosen=true"
DEMONSTRATIONS, PROMPTS = "24 demonstrations: `steersman sft`", "24 prompts: `steersman sample` answers them"
TEXTS, CLASSES = "24 texts: `steersman sft`", "24 texts with a class: `steersman classifier`"
EMPTY_ANSWERS = "24 × a bad row, such as rows.jsonl:1: empty answer"
CASES = [
    ("sft", "pairs", (PAIRS, PAIRS_CHOSEN)),
    ("sft", "thumbs", (THUMBS,)),
    ("sft", "prompts", (PROMPTS,)),
    ("sft", "empty answers", (EMPTY_ANSWERS,)),
    ("dpo", "thumbs", (THUMBS, "24 × an answer with a thumb, which compares nothing")),
    ("dpo", "demonstrations", (DEMONSTRATIONS,)),
    ("reward", "demonstrations", (DEMONSTRATIONS,)),
    ("ilql", "prompts", (PROMPTS,)),
    ("ppo", "texts", (TEXTS,)),
    ("best-of-n", "texts", (TEXTS,)),
    ("sample", "classes", (CLASSES,)),
    ("score", "prompts", (PROMPTS,)),
    ("classifier", "pairs", (PAIRS,)),
    ("evaluate", "texts", (TEXTS,)),
    ("dpo", "empty", ("no ",)),
]


def words(command: str) -> list[str]:
    """The command on rows.jsonl, with a tiny model and a reward function."""
    model = ["--model", "tiny:llama", "--device", "cpu"]
    scorer = ["--scorer", "f.py:f"]
    given = {
        "sample": ["sample", "rows.jsonl", *model, "--out", "o.jsonl"],
        "score": ["score", "rows.jsonl", *scorer, "--out", "o.jsonl"],
        "evaluate": ["evaluate", "--model", "a=tiny:llama", "--prompts", "rows.jsonl", "--out", "o"],
        "classifier": ["classifier", "--data", "rows.jsonl", *model, "--positive", "kind", "--out", "o"],
    }
    on_prompts = [command, *model, *scorer, "--prompts", "rows.jsonl", "--out", "o"]
    on_rows = [command, *model, "--data", "rows.jsonl", "--out", "o"]
    by_kind = on_prompts if command in ("ppo", "rloo", "online-dpo", "best-of-n") else on_rows
    return [*given.get(command, by_kind)]


@pytest.mark.slow
def test_every_command_says_what_the_rows_are_and_who_wants_them(tmp_path):
    broken: list[str] = []
    for number, (command, rows, expected) in enumerate(CASES):
        folder = tmp_path / str(number)
        folder.mkdir()
        row = ROWS[rows]
        (folder / "rows.jsonl").write_text("" if row is None else (json.dumps(row) + "\n") * 24)
        (folder / "f.py").write_text("def f(answer):\n    return 1.0\n")
        ended = run_command(words(command), cwd=folder)
        said = " ".join(ended.stderr.split())
        missing = [part for part in expected if part not in said]
        if ended.returncode not in (2, 3) or missing or "Traceback" in said:
            broken.append(f"{command} on {rows}: code {ended.returncode}, missing {missing} in: {said[-600:]}")
    assert not broken, "\n\n".join(broken)


def test_every_kind_of_record_has_a_use_or_says_that_it_has_none():
    for kind in KINDS:
        assert who_wants({kind: 1}).startswith("There is 1 ")
        assert who_wants({kind: 2000}).startswith("There are 2,000 ")
    assert who_wants({}) == ""


def test_records_of_unwanted_kinds_are_counted_too(tmp_path):
    from steersman.data.load import load_records
    from steersman.records import Prompt

    path, report = tmp_path / "rows.jsonl", ReadReport()
    path.write_text(json.dumps({"text": "A dog."}) + "\n")
    assert list(load_records(str(path), kind=Prompt, report=report)) == []
    assert (dict(report.kinds), dict(report.seen)) == ({}, {"document": 1})

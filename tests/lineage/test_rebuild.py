"""`steersman lineage rebuild`: the same bytes again, or what differs."""

import json
from pathlib import Path

import pytest
from commandline import call

from steersman.assemble.rebuild import rebuild
from steersman.errors import DataError, UsageError

SHORTER = "def shorter(prompt, answer):\n    return -len(answer)\n"


@pytest.fixture
def labels(tmp_path, monkeypatch) -> Path:
    """A file of labels that `simulate` has written."""
    from steersman.records import Answers, Completion, Prompt, to_dict

    monkeypatch.chdir(tmp_path)
    Path("taste.py").write_text(SHORTER)
    found = [
        Answers(Prompt(text=f"Question {n}?"), tuple(Completion(f"{n}{'a' * k}") for k in range(3))) for n in range(6)
    ]
    Path("answers.jsonl").write_text("".join(json.dumps(to_dict(one)) + "\n" for one in found))
    assert call(["simulate", "answers.jsonl", "--people", "taste.py:shorter", "--out", "labels.jsonl", "--json"]) == 0
    return Path("labels.jsonl")


def test_a_file_is_rebuilt_with_the_same_bytes(labels, capsys):
    assert call(["lineage", "rebuild", "labels.jsonl", "--out", "again.jsonl"]) == 0
    assert "the same bytes, in 1 files" in capsys.readouterr().out
    assert Path("again.jsonl").read_bytes() == labels.read_bytes()


def test_a_file_that_was_altered_differs(labels, capsys):
    labels.write_text(labels.read_text() + "\n")
    capsys.readouterr()
    assert call(["lineage", "rebuild", "labels.jsonl", "--out", "again.jsonl", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["identical"], found["kind"]) == (False, "simulate")


def test_what_it_was_made_from_has_to_be_there_as_it_was(labels):
    Path("taste.py").write_text(SHORTER + "# altered\n")
    with pytest.raises(DataError, match=r"from taste.py:shorter \(people\), which is not what it was any more"):
        rebuild("labels.jsonl", "again.jsonl")
    Path("taste.py").write_text(SHORTER)
    Path("answers.jsonl").unlink()
    with pytest.raises(DataError, match=r"from answers.jsonl \(data.source\), which is not there any more"):
        rebuild("labels.jsonl", "again.jsonl")


def test_nothing_is_overwritten_and_what_has_no_record_is_a_message(labels):
    with pytest.raises(UsageError, match="is there already"):
        rebuild("labels.jsonl", "answers.jsonl")
    with pytest.raises(UsageError, match=r"nothing is recorded of how answers.jsonl was made"):
        rebuild("answers.jsonl", "again.jsonl")


@pytest.mark.slow
def test_a_run_is_rebuilt_with_the_same_bytes(settings, tmp_path):
    from steersman.assemble.sft import run_sft

    made = settings("train.steps=2")
    run_sft(made, quiet=True)
    found = rebuild(made.run.out, str(tmp_path / "again"), quiet=True)
    assert found.identical, found.differing
    assert "model/model.safetensors" in found.same
    assert "model/lineage.json" in found.same

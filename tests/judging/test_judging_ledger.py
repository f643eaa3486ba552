"""The label file: what was acknowledged is there after any accident, once, and what was undone is not."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steersman.errors import DataError, RunLocked
from steersman.judging.ledger import Ledger, SaveError
from steersman.judging.queue import Item
from steersman.judging.reading import difference_in_words
from steersman.judging.session import Verdict
from steersman.judging.verdicts import Judgement, record_of
from steersman.records import Comparison, Completion, Prompt, from_dict, to_dict


def item(number: int) -> Item:
    return Item(f"item{number}", Prompt(text=f"{number}?"), (Completion("x"), Completion("y")), (0, 1))


def judgement(number: int, choice: str = "left", annotator: str = "ann") -> Judgement:
    return record_of(item(number), Verdict(choice), annotator, "2026", 1.0)


def opened(folder, *, mode="compare", annotator="ann") -> Ledger:
    return Ledger(folder / "labels.jsonl", mode=mode, annotator=annotator, now=lambda: "2026")


def in_file(folder) -> list[str]:
    lines = (folder / "labels.jsonl").read_text().splitlines()
    records: list[Any] = [from_dict(json.loads(line)) for line in lines]
    return [record.id.split("-")[0] for record in records]


def judge(ledger: Ledger, *numbers: int) -> None:
    for number in numbers:
        ledger.judge(item(number).id, judgement(number, annotator=ledger.annotator))


def test_a_judgement_is_on_disk_when_the_call_returns(tmp_path):
    with opened(tmp_path) as ledger:
        judge(ledger, 1)
        assert in_file(tmp_path) == ["item1"]
        judge(ledger, 2)
        assert in_file(tmp_path) == ["item1", "item2"]


def test_undo_goes_back_over_skips_and_earlier_days(tmp_path):
    with opened(tmp_path) as ledger:
        judge(ledger, 1)
        ledger.skip("item2", "too long")
        judge(ledger, 3)
    with opened(tmp_path) as ledger:
        assert (ledger.judged, ledger.skipped) == ({"item1", "item3"}, {"item2"})
        assert [ledger.undo().item for _ in range(3)] == ["item3", "item2", "item1"]
        assert ledger.undo() is None
        assert in_file(tmp_path) == []
    with opened(tmp_path) as ledger:
        assert ledger.acts == []


def test_the_history_keeps_what_was_undone(tmp_path):
    with opened(tmp_path) as ledger:
        judge(ledger, 1)
        ledger.undo()
    events = [json.loads(line) for line in ledger.history_path.read_text().splitlines()]
    assert [event["event"] for event in events] == ["judged", "undone"]
    assert from_dict(events[1]["held"]) == judgement(1)


def test_what_was_skipped_can_be_asked_again(tmp_path):
    with opened(tmp_path) as ledger:
        ledger.skip("item1", "")
        judge(ledger, 2)
        assert ledger.revisit() == 1
        assert ledger.revisit() == 0
    with opened(tmp_path) as ledger:
        assert (ledger.judged, ledger.skipped) == ({"item2"}, set())


def test_an_undo_that_was_interrupted_is_finished(tmp_path):
    with opened(tmp_path) as ledger:
        judge(ledger, 1, 2)
        before = ledger.path.read_bytes()
        ledger.undo()
    ledger.path.write_bytes(before)  # the history says undone, and the line was not yet cut off
    with opened(tmp_path) as ledger:
        assert ledger.judged == {"item1"}
        assert in_file(tmp_path) == ["item1"]


@given(st.integers(0, 400), st.integers(0, 400))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_write_cut_short_anywhere_loses_nothing_that_was_acknowledged(tmp_path, monkeypatch, history_cut, label_cut):
    """Two judgements are acknowledged, a third is being written: the history first, then the label file."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # the order of the writes is what is tested here
    for name in ("labels.jsonl", "labels.jsonl.history"):
        (tmp_path / name).unlink(missing_ok=True)
    with opened(tmp_path) as ledger:
        judge(ledger, 1, 2)
        sizes = [path.stat().st_size for path in (ledger.history_path, ledger.path)]
        judge(ledger, 3)
    history, labels = ledger.history_path.read_bytes(), ledger.path.read_bytes()
    reached = min(sizes[0] + history_cut, len(history))
    ledger.history_path.write_bytes(history[:reached])
    ledger.path.write_bytes(labels[: sizes[1] + (label_cut if reached == len(history) else 0)])
    with opened(tmp_path) as ledger:
        standing = [act.item for act in ledger.acts]
        assert standing[:2] == ["item1", "item2"]
        assert in_file(tmp_path) == standing
        if "item3" not in standing:
            judge(ledger, 3)
        assert in_file(tmp_path) == ["item1", "item2", "item3"]


def test_a_judgement_missing_from_the_file_is_written_back_and_said(tmp_path):
    with opened(tmp_path) as ledger:
        judge(ledger, *range(12))
        whole = ledger.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    ledger.path.write_bytes(b"".join(lines[:5]))
    with opened(tmp_path) as ledger:
        assert len(ledger.judged) == 12
        (notice,) = ledger.notices
        assert "labels.jsonl: 7 judgements missing (item5-" in notice
        assert "and 2 more): written back from the history" in notice
        assert ledger.path.read_bytes() == whole
    with opened(tmp_path) as ledger:
        assert ledger.notices == []


def test_whoever_reads_a_label_file_is_told_in_what_it_differs(tmp_path):
    with opened(tmp_path) as ledger:
        judge(ledger, *range(12))
        ledger.undo()
        judge(ledger, 11)
    path, whole, history = ledger.path, ledger.path.read_bytes(), ledger.history_path.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert difference_in_words(path) == difference_in_words(tmp_path / "other.jsonl") == ""
    path.write_bytes(b"".join(lines[:5]) + lines[0] + lines[5].replace(b'"preference": 1.0', b'"preference": 0.0'))
    assert "differs from the history of its judgements: 6 missing, 1 altered, 1 there twice." in difference_in_words(
        path
    )
    assert path.read_bytes() != whole  # nothing is repaired here
    ledger.history_path.write_bytes(history.replace(b"item3", b"item4", 1))
    assert "history:4: altered" in difference_in_words(path)
    ledger.history_path.write_text("something else\n")
    assert difference_in_words(path) == ""


@pytest.mark.slow
def test_training_on_a_label_file_that_was_cut_says_so(tmp_path, capfd):
    from commandline import call

    with opened(tmp_path) as ledger:
        judge(ledger, *range(12))
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b"".join(lines[:5]))
    words = ["--model", "tiny:llama", "--data", str(ledger.path), "--out", str(tmp_path / "run"), "data.held_out=none"]
    assert call(["reward", *words, "train.epochs=1"]) == 0
    assert "differs from the history of its judgements: 7 missing" in capfd.readouterr().err


def test_a_line_without_its_end_gets_it(tmp_path):
    with opened(tmp_path) as ledger:
        judge(ledger, 1, 2)
        whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole[:-1])
    with opened(tmp_path) as ledger:
        assert (ledger.path.read_bytes(), ledger.notices) == (whole, [])


def test_an_altered_judgement_is_restored_and_the_file_as_it_was_is_kept(tmp_path):
    with opened(tmp_path) as ledger:
        judge(ledger, 1, 2)
        whole = ledger.path.read_bytes()
    for altered in (
        whole.replace(b'"preference": 1.0', b'"preference": 0.0', 1),  # another verdict
        whole.replace(b'"id": "item2-', b'"id": "item3-', 1),  # another item
        whole.replace(b'"kind": "comparison"', b'"kind": "comp', 1),  # not JSON
        whole + whole.splitlines(keepends=True)[0],  # a judgement twice
    ):
        assert altered != whole
        ledger.path.write_bytes(altered)
        with opened(tmp_path) as ledger:
            assert [act.item for act in ledger.acts] == ["item1", "item2"]
            former = ledger.path.with_name(ledger.notices[-1].rpartition(" ")[2])
        assert sorted(ledger.path.read_bytes().splitlines()) == sorted(whole.splitlines())
        assert former.read_bytes() == altered
    assert former.name == "labels.jsonl.former-4"


def test_a_judgement_that_the_history_does_not_have_is_taken_and_said(tmp_path):
    with opened(tmp_path) as ledger:
        judge(ledger, 1)
    line = json.dumps(to_dict(judgement(2))).encode() + b"\n"
    ledger.path.write_bytes(ledger.path.read_bytes() + line)
    with opened(tmp_path) as ledger:
        assert ledger.judged == {"item1", "item2"}
        assert "1 judgement not in the history" in ledger.notices[0]
    ledger.path.write_bytes(b"")  # it is in the history now
    with opened(tmp_path) as ledger:
        assert ledger.judged == {"item1", "item2"}


def earlier_history(tmp_path, *numbers: int) -> bytes:
    """The history that the release before this one wrote: ids only, and no hashes."""
    rows = [
        {"event": "judged", "time": "", "annotator": "ann", "item": f"item{n}", "record": judgement(n).id}
        for n in numbers
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_a_history_of_an_earlier_release_is_taken_over_or_refused(tmp_path):
    with opened(tmp_path) as ledger:
        judge(ledger, 1, 2, 3)
        lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.history_path.write_bytes(earlier_history(tmp_path, 1, 2, 3))
    ledger.path.write_bytes(b"".join(lines[:2]))  # the third was interrupted before it was acknowledged
    with opened(tmp_path) as ledger:
        assert (ledger.judged, ledger.notices) == ({"item1", "item2"}, [])
    ledger.path.write_bytes(b"")
    with opened(tmp_path) as ledger:
        assert ledger.judged == {"item1", "item2"}  # the records were added to the history
    ledger.history_path.write_bytes(earlier_history(tmp_path, 1, 2, 3))
    ledger.path.write_bytes(lines[0])
    with pytest.raises(DataError, match=r"lacks 1 judgement that its history names \(item2-"):
        opened(tmp_path).__enter__()
    assert ledger.path.read_bytes() == lines[0]


@pytest.fixture(scope="module")
def long_history(tmp_path_factory):
    folder = tmp_path_factory.mktemp("history")
    with opened(folder) as ledger:
        ledger.open_sitting(seed=1)
        judge(ledger, 1, 2)
        ledger.skip("item3", "")
        ledger.undo()
        ledger.undo()
        judge(ledger, 2)
    return folder, ledger.history_path.read_bytes()


@given(where=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_in_the_history_is_a_message_with_its_line(long_history, where, bit):
    folder, whole = long_history
    where %= len(whole)
    damaged = whole[:where] + bytes([whole[where] ^ 1 << bit]) + whole[where + 1 :]
    (folder / "labels.jsonl.history").write_bytes(damaged)
    if where == len(whole) - 1:
        return  # the last line end: the line counts as incomplete
    with pytest.raises(DataError, match=r"labels\.jsonl\.history:\d+: .*The history is damaged"):
        opened(folder).__enter__()
    assert (folder / "labels.jsonl.history").read_bytes() == damaged


def test_a_line_taken_out_of_the_history_is_a_message(long_history):
    folder, whole = long_history
    lines = whole.splitlines(keepends=True)
    for number in range(len(lines) - 1):
        (folder / "labels.jsonl.history").write_bytes(b"".join(lines[:number] + lines[number + 1 :]))
        with pytest.raises(DataError, match=r"a line before it is missing"):
            opened(folder).__enter__()
    for row in ({"event": "judged"}, {"event": "skipped", "item": 3}, {"event": ["undone"]}, [1]):
        (folder / "labels.jsonl.history").write_text(json.dumps(row) + "\n")
        with pytest.raises(DataError, match=r"history:1: not a history event"):
            opened(folder).__enter__()


def test_a_judgement_that_could_not_be_saved_is_not_in_the_history(tmp_path, monkeypatch):
    from steersman.judging import history

    with opened(tmp_path) as ledger:
        judge(ledger, 1)
        calls = iter([None, OSError(28, "No space left on device")])

        def second_fails(_: int) -> None:
            failure = next(calls)
            if failure:
                raise failure

        monkeypatch.setattr(history.os, "fsync", second_fails)
        with pytest.raises(SaveError):
            judge(ledger, 2)
        monkeypatch.undo()
    with opened(tmp_path) as ledger:
        assert (ledger.judged, ledger.notices) == ({"item1"}, [])


def test_a_file_without_its_history_is_gone_on_with(tmp_path):
    with opened(tmp_path) as ledger:
        judge(ledger, 1, 2)
    ledger.history_path.unlink()
    with opened(tmp_path) as ledger:
        assert [act.item for act in ledger.acts] == ["item1", "item2"]
        assert ledger.undo().item == "item2"
    assert in_file(tmp_path) == ["item1"]


def test_two_people_can_take_turns_in_one_file_and_undo_only_their_own(tmp_path):
    with opened(tmp_path, annotator="ann") as ledger:
        judge(ledger, 1, 2)
    with opened(tmp_path, annotator="ben") as ledger:
        assert ledger.judged == set()
        judge(ledger, 1)
        assert ledger.undo().item == "item1"
        assert ledger.undo() is None
        judge(ledger, 3)
    with opened(tmp_path, annotator="ann") as ledger:
        assert ledger.undo().item == "item2"
        judge(ledger, 4)
    assert in_file(tmp_path) == ["item1", "item3", "item4"]


def test_a_second_sitting_on_the_file_is_refused(tmp_path):
    with opened(tmp_path), pytest.raises(RunLocked, match="open in another"):
        opened(tmp_path).__enter__()
    with opened(tmp_path) as ledger:
        judge(ledger, 1)


def test_a_file_of_another_mode_is_refused(tmp_path):
    with opened(tmp_path) as ledger:
        judge(ledger, 1)
    with pytest.raises(DataError, match=r"labels\.jsonl:1 holds a comparison, but --mode rank writes rankings"):
        opened(tmp_path, mode="rank").__enter__()


def test_a_file_of_another_task_is_refused(tmp_path):
    with opened(tmp_path) as ledger:
        judge(ledger, 1)
        with pytest.raises(DataError, match=r"holds 1 judgements of prompts that are not in other\.jsonl"):
            ledger.check_prompts({"something else"}, "other.jsonl")


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    with opened(tmp_path) as ledger:
        judge(ledger, 1, 2)
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b'{"kind": "comp\n' + b"".join(lines))  # nothing is missing: what the line was is unknown
    with pytest.raises(DataError, match=r"labels\.jsonl:1: not a judgement in the native format"):
        opened(tmp_path).__enter__()
    ledger.path.write_bytes(b"".join(lines))
    ledger.history_path.write_bytes(b"\x00\x00\n" + ledger.history_path.read_bytes())
    with pytest.raises(DataError, match=r"history:1: not a history event"):
        opened(tmp_path).__enter__()


FULL_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_judging_ledger import item, judgement
from steersman.judging.ledger import Ledger, SaveError
with Ledger(Path(sys.argv[1]), mode="compare", annotator="ann", now=lambda: "2026") as ledger:
    ledger.judge("item1", judgement(1))
    size = ledger.path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
    try:
        ledger.judge("item2", judgement(2))
    except SaveError as refused:
        print(refused)
    assert ledger.judged == {"item1"} and ledger.path.stat().st_size == size
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ledger.judge("item2", judgement(2))
"""


def test_a_disk_that_takes_no_more_leaves_no_half_line_and_the_key_can_be_pressed_again(tmp_path):
    from pathlib import Path

    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "labels.jsonl"), here],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "NOT SAVED" in done.stdout
    assert in_file(tmp_path) == ["item1", "item2"]


def test_save_errors_are_ours(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with opened(tmp_path) as ledger:
        judge(ledger, 1)
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(SaveError, match="No space left on device"):
            judge(ledger, 2)
        with pytest.raises(SaveError):
            ledger.undo()
        monkeypatch.undo()
        assert ledger.judged == {"item1"}
    assert in_file(tmp_path) == ["item1"]


def test_drafts_are_kept_for_each_item_and_person(tmp_path):
    with opened(tmp_path, mode="demonstrate") as ledger:
        ledger.save_draft("item1", "half an ans")
        ledger.save_draft("item2", "猫 \ud800")
        ledger.save_draft("item2", "猫 \ud800")
    with opened(tmp_path, mode="demonstrate", annotator="ben") as other:
        assert other.draft("item1") == ""
        other.save_draft("item1", "mine")
    with opened(tmp_path, mode="demonstrate") as ledger:
        assert (ledger.draft("item1"), ledger.draft("item2")) == ("half an ans", "猫 \ud800")
        ledger.save_draft("item1", "")
        ledger.save_draft("item2", "")
        assert ledger.draft("item1") == ""
    with opened(tmp_path, mode="demonstrate", annotator="ben") as other:
        other.save_draft("item1", "")
        assert not other.draft_path.exists()


def test_a_lone_surrogate_can_be_written_and_read_again(tmp_path):
    strange = Item("odd", Prompt(text="?"), (Completion("\ud800"), Completion("y\u2028z")), (0, 1))
    record = record_of(strange, Verdict("left"), "ann", "", 0.0)
    with opened(tmp_path) as ledger:
        ledger.judge("odd", record)
    with opened(tmp_path) as ledger:
        assert ledger.records == [record]


def test_a_judgement_costs_the_same_however_long_the_file_is(tmp_path, monkeypatch):
    """Bytes written for one more judgement do not depend on how many stand there: the file is only ever appended to."""
    record = judgement(0)
    assert isinstance(record, Comparison)
    line = (json.dumps(to_dict(record)) + "\n").encode()
    many = b"".join(line.replace(b"item0", b"item%d" % n) for n in range(1000))
    (tmp_path / "labels.jsonl").write_bytes(many)
    written = []
    write = os.write
    with opened(tmp_path) as ledger:
        assert len(ledger.judged) == 1000
        monkeypatch.setattr(os, "write", lambda handle, data: written.append(len(data)) or write(handle, data))
        judge(ledger, 1000)
        assert sum(written) < 1000
        written.clear()
        ledger.undo()
        assert sum(written) < 1000

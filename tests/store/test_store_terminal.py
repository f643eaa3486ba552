"""The terminal's judgements in a project: as in a label file, and beside those of others."""

import pytest
from sqlalchemy import text
from store_pairs import pair, pairs_in

from steersman.judging.history import SaveError
from steersman.judging.keeper import LabelKeeper
from steersman.judging.ledger import Ledger
from steersman.judging.project import ProjectLedger
from steersman.records import Completion, Demonstration, Prompt
from steersman.store.labelling import Submission, submit_label
from steersman.store.reading import read_labels
from steersman.store.reading_cursor import cursor_of
from steersman.store.sources import StudioSource

SOURCE = StudioSource("helpful")


def ledger_of(project, annotator="ann", mode="compare") -> ProjectLedger:
    return ProjectLedger(project, SOURCE, mode=mode, annotator=annotator)


def judged(number: int, **more):
    return pair(number, annotator="ann", id=f"item{number}-aa", **more)


def counted(project) -> list:
    return [label.record for label in read_labels(project, cursor_of(project))]


def test_both_are_what_a_sitting_writes_to(project, tmp_path):
    assert isinstance(ledger_of(project), LabelKeeper)
    with Ledger(tmp_path / "l.jsonl", mode="compare", annotator="ann", now=lambda: "") as ledger:
        assert isinstance(ledger, LabelKeeper)


def test_judgements_skips_and_undos_are_there_when_it_is_opened_again(project):
    ledger = ledger_of(project)
    ledger.judge("item0", judged(0))
    ledger.judge("item1", judged(1, preference=0.5, both_bad=True))
    ledger.skip("item2", "too long")
    ledger.skip("item3", "")
    assert ledger.undo().item == "item3"
    again = ledger_of(project)
    assert (again.judged, again.skipped) == ({"item0", "item1"}, {"item2"})
    assert again.records == [judged(0), judged(1, preference=0.5, both_bad=True)]
    assert again.revisit() == 1
    assert again.undo().record == judged(1, preference=0.5, both_bad=True)
    assert ledger_of(project).skipped == set()
    assert counted(project) == [judged(0)]
    assert again.undo().item == "item0"
    assert again.undo() is None


def test_a_terminals_judgement_takes_a_slot_of_the_same_task(project):
    (task,) = pairs_in(project, 1, overlap=1)
    ledger_of(project).judge("item0", judged(0))
    late = submit_label(project, Submission("ben", task.id, "1", {"preference": 0.0}))
    assert late.kind == "late"
    (task,) = pairs_in(project, 1, overlap=1)
    ben = ledger_of(project, "ben")
    ben.judge("item0", pair(0, annotator="ben", id="item0-bb"))
    assert [record.annotator for record in counted(project)] == ["ann"]
    assert "2 of your judgements do not count" in ledger_of(project, "ben").notices[0]
    assert ledger_of(project, "ben").judged == {"item0"}


def test_demonstrations_keep_a_draft_until_they_are_saved(project):
    ledger = ledger_of(project, mode="demonstrate")
    ledger.save_draft("item0", "half an ans")
    assert ledger_of(project, mode="demonstrate").draft("item0") == "half an ans"
    assert ledger_of(project, "ben", "demonstrate").draft("item0") == ""
    said = Demonstration(Prompt(text="Write."), Completion("An answer."), "ann", "item0-aa")
    ledger.judge("item0", said)
    ledger.save_draft("item0", "")
    assert ledger_of(project, mode="demonstrate").draft("item0") == ""
    assert ledger_of(project, mode="demonstrate").records == [said]
    assert ledger_of(project, mode="compare").records == []


def test_what_could_not_be_saved_is_said_and_not_kept(database, project):
    ledger = ledger_of(project)
    ledger.judge("item0", judged(0))
    if database.place.path is None:
        pytest.skip("the read-only mode is SQLite's")
    with database.read() as connection:
        connection.execute(text("PRAGMA query_only=ON"))
    with pytest.raises(SaveError, match="NOT SAVED"):
        ledger.judge("item1", judged(1))
    with database.read() as connection:
        connection.execute(text("PRAGMA query_only=OFF"))
    ledger.judge("item1", judged(1))
    assert len(counted(project)) == 2

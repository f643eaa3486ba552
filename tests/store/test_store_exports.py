"""Imports and exports: nothing is lost, and the same again gives the same bytes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from store_pairs import pair, pairs_in

from steersman.data.load import load_records
from steersman.data.write import RowWriter
from steersman.errors import UsageError
from steersman.records import (
    Answers,
    ClassifiedText,
    Comparison,
    Completion,
    Demonstration,
    Document,
    Label,
    Message,
    Prompt,
    Ranking,
    Steps,
    to_dict,
)
from steersman.store.content import Content
from steersman.store.events import read_events
from steersman.store.export import card_paths, export_project
from steersman.store.imports import ImportReport, Wishes, from_records, import_arriving, import_source
from steersman.store.items import NewItem, add_items, list_items
from steersman.store.labelling import Submission, adjudicate, submit_label, undo_last
from steersman.store.projects import create_project, set_guidelines, set_role
from steersman.store.reading import read_records
from steersman.store.reading_cursor import cursor_of

ASKED = Prompt(
    (Message("system", "Be kind."), Message("user", "Wie geht's? 你好 \u2028 «é»")), metadata={"tools": ["a"]}
)
GOOD = Completion("Gut!", model="runs/sft", sampling={"temperature": 0.5, "weights": "step-40"}, seed=7)
BAD = Completion("Schlecht", model="runs/ppo", scores={"reward": -1.25})
EVERYTHING = [
    Document("A text by itself.", id="d1"),
    Prompt(text="Once upon", continued=True),
    Answers(ASKED, (GOOD, BAD), id="a1"),
    Steps(ASKED, ("one", "two"), (True, False), id="s1"),
    ClassifiedText("You are nice", "friendly", annotator="cid"),
    Comparison(
        ASKED, GOOD, BAD, 1.0, 2.0, annotator="ann", shown="second", rationale="kind", time="2026-01-02", id="1"
    ),
    Comparison(ASKED, GOOD, BAD, 0.5, both_bad=True, annotator="ben", shown="first", metadata={"seconds": 3.25}),
    Comparison(ASKED, BAD, GOOD, 0.3),
    Ranking(ASKED, (GOOD, BAD), (1, 1), annotator="ann", shown=(1, 0), metadata={"rationale": "alike", "n": [1]}),
    Label(ASKED, GOOD, True, annotator="ann"),
    Label(ASKED, GOOD, ratings={"help": 4.0, "safe": 2.5}, annotator="ann", time="t"),
    Demonstration(ASKED, Completion("Danke, gut."), annotator="ben", id="9"),
]


def bring(project, records, wishes=None) -> ImportReport:
    report = ImportReport()
    import_arriving(project, from_records(records, wishes or Wishes()), report)
    return report


def again(project, path: Path, name: str):
    """A new project with what an export holds."""
    other = create_project(project.database, name)
    report = import_source(other, str(path), Wishes())
    assert report.read.malformed == 0
    return other


@pytest.mark.parametrize("ending", [".jsonl", ".parquet", ".jsonl.gz"])
def test_every_kind_of_record_survives_export_and_import_byte_for_byte(project, tmp_path, ending):
    bring(project, EVERYTHING, Wishes(round="r1"))
    one, two = tmp_path / f"one{ending}", tmp_path / f"two{ending}"
    export_project(project, one)
    other = again(project, one, "other")
    export_project(other, two)
    assert one.read_bytes() == two.read_bytes()
    assert sorted(map(str, read_records(project, cursor_of(project)))) == sorted(map(str, EVERYTHING))
    assert list(load_records(str(one))) == list(read_records(other, cursor_of(other)))


def test_the_two_cards_are_equal_but_for_the_name(project, tmp_path):
    set_guidelines(project, "Prefer the kind answer.")
    bring(project, EVERYTHING)
    export_project(project, tmp_path / "one.jsonl")
    card = json.loads(card_paths(tmp_path / "one.jsonl")[0].read_text())
    assert card["kinds"]["comparison"] == 3
    assert card["both bad"] == 1
    assert card["ties"] == 0
    assert card["labels by annotator"] == {"": 1, "ann": 4, "ben": 2}
    # two labels of the first comparison: first, tie
    assert card["agreement"] == {"items": 1, "percent": 0.0, "alpha": 0.0}
    assert card["columns"]["shown"]["rows"] == 3
    text = (tmp_path / "one.jsonl.card.md").read_text()
    assert "Prefer the kind answer." in text
    assert "Licence: not stated" in text


def test_native_and_trl_rows_go_in_and_come_out_the_same(project, tmp_path):
    for number, (kind, records) in enumerate(
        {
            "native": EVERYTHING,
            "trl-preference": [Comparison(Prompt(text="Q"), Completion("a"), Completion("b"), 1.0)],
        }.items()
    ):
        first = create_project(project.database, f"first{number}")
        bring(first, records)
        one, two = tmp_path / f"{number}-1.jsonl", tmp_path / f"{number}-2.jsonl"
        export_project(first, one, to=kind)
        export_project(again(first, one, f"second{number}"), two, to=kind)
        assert one.read_bytes() == two.read_bytes()
        assert one.read_bytes().count(b"\n") == len(records)


def test_an_import_that_is_repeated_adds_nothing(project, tmp_path):
    with RowWriter(tmp_path / "rows.jsonl") as rows:
        for record in EVERYTHING:
            rows.write(to_dict(record))
    first = import_source(project, str(tmp_path / "rows.jsonl"), Wishes())
    second = import_source(project, str(tmp_path / "rows.jsonl"), Wishes())
    assert (first.labels, first.repeated) == (7, 0)
    assert (second.labels, second.items, second.repeated) == (0, 0, 7)


def test_equal_labels_of_unnamed_people_are_all_kept(project):
    same = Comparison(ASKED, GOOD, BAD, 1.0)
    assert bring(project, [same, same, replace(same, preference=0.0)]).labels == 3
    assert list(read_records(project, cursor_of(project))) == [same, same, replace(same, preference=0.0)]
    assert bring(project, [same, same]).labels == 0


def test_what_was_undone_is_not_exported_and_what_nobody_judged_is(project, tmp_path):
    one, two = pairs_in(project, 2, overlap=2)
    for number, task in enumerate((one, two)):
        submit_label(project, Submission("ann", task.id, str(number), {"preference": 0.0, "shown": "second"}))
    undo_last(project, "ann", "undo")
    export_project(project, tmp_path / "one.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text().split("\n")[:-1]]
    assert [(row["kind"], row["item"], row["overlap"]) for row in rows] == [
        ("answers", "pair", 2),
        ("comparison", "pair", 2),
    ]
    assert rows[1]["shown"] == [1, 0]
    assert rows[1]["policies"] == ["runs/sft", "runs/ppo"]
    other = again(project, tmp_path / "one.jsonl", "other")
    assert [(item.free, item.overlap) for item in list_items(other)] == [(2, 2), (1, 2)]
    export_project(other, tmp_path / "two.jsonl")
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()


def test_red_teaming_and_edited_answers_are_exported_with_their_task(project, tmp_path):
    brief = Prompt(text="Try to make it insult somebody.")
    edit = Content("demonstration", ASKED, (GOOD,))
    add_items(project, [NewItem(Content("red_team", brief), reason="round of attacks", gold={"x": 1}), NewItem(edit)])
    attack, draft = list_items(project)
    found = to_dict(Comparison(ASKED, GOOD, BAD, 0.0, shown="first"))
    submit_label(project, Submission("ann", attack.id, "1", {"record": found}))
    submit_label(project, Submission("ben", draft.id, "2", {"completion": {"text": "Besser."}, "seconds": 12.5}))
    export_project(project, tmp_path / "one.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text().split("\n")[:-1]]
    assert (rows[0]["item"], rows[0]["kind"], rows[0]["asked"]["prompt"]["text"]) == (
        "red_team",
        "comparison",
        brief.text,
    )
    assert (rows[1]["asked"]["completions"][0]["text"], rows[1]["seconds"]) == ("Gut!", 12.5)
    other = again(project, tmp_path / "one.jsonl", "other")
    export_project(other, tmp_path / "two.jsonl")
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    assert [event.body for event in read_events(project)] == [event.body for event in read_events(other)]


def test_training_reads_the_decision_of_a_reviewer_and_no_gold_items(project):
    one, two = pairs_in(project, 2, overlap=2)
    add_items(project, [NewItem(Content("pair", ASKED, (GOOD, BAD)), gold={"preference": 1.0})])
    gold = list_items(project)[2]
    set_role(project, "rita", "reviewer")
    for number, (who, item) in enumerate([("ann", one), ("ben", one), ("ann", two), ("ann", gold)]):
        submit_label(project, Submission(who, item.id, str(number), {"preference": 1.0}))
    adjudicate(project, Submission("rita", one.id, "a", {"preference": 0.0}))
    read = [one for one in read_records(project, cursor_of(project)) if isinstance(one, Comparison)]
    assert [(record.annotator, record.preference) for record in read] == [("ann", 1.0), ("rita", 0.0)]


def test_answers_become_tasks_of_the_wished_kind(project):
    answers = Answers(ASKED, (GOOD, BAD, Completion("Gut!"), Completion("So so")))
    for kind, count in {"pair": 3, "ranking": 1, "rating": 3, "thumb": 3, "demonstration": 1}.items():
        report = bring(project, [answers], Wishes(task=kind, overlap=2, round=kind))
        assert report.tasks == count
        assert {len(i.content.completions) for i in list_items(project, kind=kind)} == {
            {"pair": 2, "ranking": 3, "demonstration": 3}.get(kind, 1)
        }


def test_rounds_are_exported_one_by_one(project, tmp_path):
    bring(project, [pair(1, annotator="ann")], Wishes(round="one"))
    bring(project, [pair(1, annotator="ann")], Wishes(round="two"))
    assert len(list(read_records(project, cursor_of(project)))) == 2
    assert len(list(read_records(project, cursor_of(project, "two")))) == 1
    with pytest.raises(UsageError, match="has no round 'three'; expected one of one, two"):
        cursor_of(project, "three")


def test_a_full_export_names_the_files_that_it_can_write(project, tmp_path):
    with pytest.raises(UsageError, match=r"written as \.jsonl, \.jsonl\.gz, \.parquet"):
        export_project(project, tmp_path / "out.csv")
    export_project(project, tmp_path / "empty.parquet")  # its card is another file than that of empty.jsonl
    export_project(project, tmp_path / "empty.jsonl")
    with pytest.raises(UsageError, match="--force to overwrite"):
        export_project(project, tmp_path / "empty.jsonl")


def test_alpha_is_that_of_the_worked_example():
    """Three comparisons by two people: first/first, first/second, second/second. n = 6 values, 3 first, 3 second.
    Expected disagreement 2·3·3 = 18; observed 2·1·1/(2−1) = 2; alpha = 1 − 5·2/18 = 0.444."""
    from steersman.store.agreement import PairAgreement

    found = PairAgreement()
    for unit, values in {"a": "ff", "b": "fs", "c": "ss", "d": "f"}.items():
        for value in values:
            found.add(unit, value)
    assert found.as_dict() == {"items": 3, "percent": 66.6667, "alpha": 0.4444}

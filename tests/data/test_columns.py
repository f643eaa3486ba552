"""Column mapping: tables with names of their own become the same records as known formats."""

import csv
import json
import re
from typing import Any

import pytest

from steersman.data.columns import OWN_NAME, format_of_columns
from steersman.data.load import ReadReport, load_records
from steersman.errors import DataError, UsageError
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
)
from steersman.settings.base import check
from steersman.settings.columns import ColumnSettings, row_format
from steersman.settings.score import SourceSettings


def read(row, **columns) -> Any:
    found = format_of_columns(columns, [row]).read(row)
    assert len(found) == 1
    return found[0]


ASKED = Prompt(text="Why?")
ROW = {"question": "Why?", "good one": "So.", "bad one": "No.", "who": 7, "n": 2}
KINDS = {
    "prompt": ({"prompt": "question"}, ASKED),
    "demonstration": (
        {"prompt": "question", "completion": "good one"},
        Demonstration(ASKED, Completion("So.")),
    ),
    "comparison": (
        {"prompt": "question", "chosen": "good one", "rejected": "bad one", "annotator": "who", "margin": "n"},
        Comparison(ASKED, Completion("So."), Completion("No."), 1.0, margin=2.0, annotator="7"),
    ),
    "answers": (
        {"prompt": "question", "answers": ["good one", "bad one"]},
        Answers(ASKED, (Completion("So.", model="good one"), Completion("No.", model="bad one"))),
    ),
    "rating": (
        {"prompt": "question", "completion": "good one", "rating": "n"},
        Label(ASKED, Completion("So."), ratings={"n": 2.0}),
    ),
    "document": ({"text": "question"}, Document("Why?")),
    "classified": ({"text": "question", "label": "n"}, ClassifiedText("Why?", "2")),
    "a number as an answer": (
        {"prompt": "question", "completion": "n"},
        Demonstration(ASKED, Completion("2")),
    ),
}


@pytest.mark.parametrize(("columns", "expected"), KINDS.values(), ids=KINDS)
def test_columns_decide_what_a_row_is(columns, expected):
    assert read(ROW, **columns) == expected


def test_a_field_that_is_not_named_is_read_from_a_column_of_its_own_name():
    row = {"question": "Why?", "chosen": "So.", "rejected": "No.", "id": 4}
    assert read(row, prompt="question") == Comparison(ASKED, Completion("So."), Completion("No."), 1.0, id="4")
    assert read(row, prompt="question", chosen="", rejected="") == ASKED
    labelled = {"question": "Why?", "reply": "So.", "label": 1}
    assert isinstance(read(labelled, prompt="question", completion="reply"), Label)
    assert isinstance(read(labelled, prompt="question", completion="reply", label=""), Demonstration)


@pytest.mark.parametrize(
    ("said", "preference", "both_bad"),
    [
        ("a", 1.0, False),
        ("B", 0.0, False),
        ("first", 1.0, False),
        (2, 0.0, False),
        ("new", 0.0, False),
        ("old", 1.0, False),
        ("tie", 0.5, False),
        ("tie (bothbad)", 0.5, True),
    ],
)
def test_the_better_of_two_columns_is_named_in_a_third(said, preference, both_bad):
    row = {"prompt": "Why?", "old": "So.", "new": "No.", "winner": said}
    found = read(row, first="old", second="new", preferred="winner")
    expected = Comparison(ASKED, Completion("So."), Completion("No."), preference, both_bad=both_bad)
    assert found == expected


def test_a_preference_is_a_probability():
    row = {"prompt": "Why?", "old": "So.", "new": "No.", "p": "0.75"}
    assert read(row, first="old", second="new", preference="p").preference == 0.75
    with pytest.raises(DataError, match="probability between 0 and 1: seen 3"):
        read({**row, "p": 3}, first="old", second="new", preference="p")
    with pytest.raises(DataError, match=r"'p' should say which answer is better .*old, new, or tie.*seen '0'"):
        read({**row, "p": 0}, first="old", second="new", preferred="p")


@pytest.mark.parametrize(
    ("said", "desirable"), [(True, True), ("0", False), ("👍", True), (-1, False), ("Down", False), (1, True)]
)
def test_thumbs_have_many_spellings(said, desirable):
    row = {"question": "Why?", "reply": "So.", "thumb": said}
    found = read(row, prompt="question", completion="reply", label="thumb")
    assert found == Label(ASKED, Completion("So."), desirable=desirable)
    with pytest.raises(DataError, match=r"'thumb' should be true or false: seen a text|seen the str 'maybe'"):
        read({**row, "thumb": "maybe"}, prompt="question", completion="reply", label="thumb")


def test_messages_system_and_columns_inside_columns():
    user, system = {"role": "user", "content": "Why?"}, {"role": "system", "content": "Be brief."}
    row = {"dialogue": [user, {"role": "assistant", "content": "So."}], "sys": "Be brief.", "meta": {"reply": "So."}}
    assert read(row, messages="dialogue") == Demonstration(Prompt((Message("user", "Why?"),)), Completion("So."))
    asked = Prompt((Message("system", "Be brief."), Message("user", "Why?")))
    found = read(row, prompt="dialogue.0.content", system="sys", completion="meta.reply")
    assert found == Demonstration(asked, Completion("So."))
    assert read({"q": [system, user]}, prompt="q") == asked
    assert read({"q": [user], "sys": "Be brief."}, prompt="q", system="sys") == asked


def test_the_right_answer_and_further_columns_are_kept_with_the_prompt():
    row = {"q": "1+1?", "result": 2, "topic": "sums", "level": None}
    found = read(row, prompt="q", solution="result", metadata=["topic", "level"])
    assert found == Prompt(text="1+1?", metadata={"solution": 2, "topic": "sums"})


def test_a_column_that_is_not_there_is_named_with_the_nearest_and_all_that_are(tmp_path):
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["Question", "Reply"], ["Why?", "So."]])
    with pytest.raises(DataError) as caught:
        list(load_records(str(path), format={"prompt": "question"}))
    assert str(caught.value) == (
        f"{path}: there is no column 'question' (columns.prompt); the columns are Question, Reply; did you mean "
        "'Question'?"
    )
    with pytest.raises(DataError, match=r"columns.prompt, columns.first need columns.second and columns.preferred too"):
        list(load_records(str(path), format={"prompt": "Question", "first": "Reply"}))
    with pytest.raises(DataError, match=r"text=Question, chosen=Reply do not go together; expected one of: .*prompt"):
        list(load_records(str(path), format={"text": "Question", "chosen": "Reply"}))


def test_a_row_without_a_value_is_malformed_and_counted(tmp_path):
    path = tmp_path / "table.jsonl"
    rows = [{"q": "Why?", "a": "So."}, {"q": "Why?"}, {"q": "How?", "a": None}, {"q": "How?", "a": ""}]
    path.write_text("\n".join(map(json.dumps, rows)))
    report = ReadReport()
    found = list(load_records(str(path), format={"prompt": "q", "completion": "a"}, report=report))
    assert found == [Demonstration(ASKED, Completion("So."))]
    assert report.reasons == {"missing value in the column 'a'": 2, "empty answer": 1}
    assert report.formats == {str(path): "columns prompt=q, completion=a"}


def test_the_settings_and_the_reader_know_the_same_fields():
    text = ColumnSettings.__doc__ or ""
    listed = re.split(r", | and ", " ".join(text.split("\n\n")[1].split(" are also")[0].split()))
    assert sorted(listed) == sorted(OWN_NAME)
    row = dict.fromkeys(ColumnSettings.model_fields, "x")
    for name in ColumnSettings.model_fields:
        with pytest.raises(DataError, match=re.escape(f"(columns.{name})")):
            format_of_columns({name: "nowhere"}, [row])


def test_settings_name_the_nearest_field_and_refuse_a_format_beside_columns():
    with pytest.raises(UsageError, match=r"unknown setting 'columns.promt': did you mean 'columns.prompt'"):
        check(SourceSettings, {"source": "a.csv", "columns": {"promt": "q"}})
    both = check(SourceSettings, {"source": "a.csv", "format": "native", "columns": {"answers": "a, b"}})
    assert both.columns is not None
    assert both.columns.mapping() == {"answers": ["a", "b"]}
    with pytest.raises(UsageError, match="give one of them"):
        row_format(both)

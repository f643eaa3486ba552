"""Every row is accounted for: read, left out, or malformed with file, line and reason."""

import json
import random

import pytest

from steersman.data.kinds import WITH_PROMPTS
from steersman.data.load import ReadReport, check_record, load_records
from steersman.errors import DataError
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
)


def pair(number, **changed):
    return {"prompt": f"Question {number}?", "chosen": f" yes {number}", "rejected": f" no {number}", **changed}


def test_a_text_file_has_a_prompt_in_each_line_where_prompts_are_wanted(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\ufeffWhat is a dog?\r\nWhat is a cat?  \n\n  Why?\n" + "x" * 1_000_001 + "\nHow?")
    report = ReadReport()
    found = list(load_records(str(path), kind=WITH_PROMPTS, report=report))
    assert found == [Prompt(text=text) for text in ("What is a dog?", "What is a cat?", "Why?", "How?")]
    assert (report.rows, report.malformed) == (5, 1)
    assert f"{path}:5: too long" in report.examples["too long"][0]
    documents = list(load_records(str(path), kind=(Demonstration, Document)))
    assert documents == [Document("What is a dog?\nWhat is a cat?  ")]


FAULTS = {
    "invalid JSON": lambda n: json.dumps(pair(n)).encode()[:-1],
    "invalid UTF-8": lambda n: json.dumps(pair(n)).encode().replace(b"yes", b"\xc3\x28"),
    "missing key 'rejected'": lambda n: json.dumps({k: v for k, v in pair(n).items() if k != "rejected"}).encode(),
    "empty answer": lambda n: json.dumps(pair(n, rejected="  \n")).encode(),
    "identical pair": lambda n: json.dumps(pair(n, rejected=f" yes {n}")).encode(),
    "half a surrogate pair": lambda n: json.dumps(pair(n)).encode().replace(b"yes", b"\\ud83d"),
    "a NUL character in the text": lambda n: json.dumps(pair(n)).encode().replace(b"yes", b"\\u0000"),
    "too long": lambda n: json.dumps(pair(n, chosen="x" * 1_000_000)).encode(),
    "empty prompt": lambda n: json.dumps(pair(n, prompt=" ")).encode(),
    "'chosen' and 'rejected' should both be texts or both messages": lambda n: json.dumps(pair(n, chosen=[])).encode(),
    "not an object": lambda n: b"[]",
    "'margin' should be a number": lambda n: json.dumps(pair(n, margin={})).encode(),
}


@pytest.fixture
def damaged(tmp_path):
    """A thousand rows of which every tenth is bad, in all the ways by turns; and which lines have which reason."""
    expected: dict[int, str] = {}
    lines = []
    names = list(FAULTS)
    random.Random(0).shuffle(names)
    for number in range(1, 1001):
        if number % 10 == 0:
            reason = names[number // 10 % len(names)]
            expected[number] = reason
            lines.append(FAULTS[reason](number))
        else:
            lines.append(json.dumps(pair(number)).encode())
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path, expected


def test_all_bad_rows_are_reported_counted_and_quarantined(damaged, tmp_path):
    path, expected = damaged
    report, quarantine = ReadReport(), tmp_path / "deep" / "bad.jsonl"
    records = list(load_records(str(path), report=report, quarantine=quarantine))
    assert (report.rows, report.malformed, report.good_rows, len(records)) == (1000, 100, 900, 900)
    rows = [json.loads(line) for line in quarantine.read_text().splitlines()]
    assert {row["line"]: row["reason"].split(":")[0] for row in rows} == expected
    assert {row["file"] for row in rows} == {str(path)}
    assert all(f"{row['line']}" in row["row"] or not row["row"].startswith("{") for row in rows)
    assert report.reasons.total() == 100
    examples = [example for found in report.examples.values() for example in found]
    assert len(examples) == 3 * len(FAULTS)
    assert all(example.startswith(f"{path}:") for example in examples)
    assert report.as_dict()["reasons"]["empty answer"]["count"] == list(expected.values()).count("empty answer")


def test_strict_stops_at_the_first_bad_row(damaged):
    path, expected = damaged
    report = ReadReport()
    with pytest.raises(DataError, match=rf"pairs.jsonl:10: {expected[10]}.*strict"):
        list(load_records(str(path), strict=True, report=report))
    assert (report.records, report.malformed) == (9, 1)


def test_only_the_wanted_kind_comes_and_the_rest_is_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"kind": "document", "text": "a"}\n{"kind": "classified", "text": "b", "label": "c"}\n')
    report = ReadReport()
    assert list(load_records(str(path), kind=Document, report=report)) == [Document("a")]
    assert report.left_out == {"a classified where a document is expected": 1}
    assert (report.rows, report.malformed, dict(report.kinds)) == (2, 0, {"document": 1})
    assert len(list(load_records(str(path), kind=(Document, ClassifiedText)))) == 2


def test_the_format_can_be_given(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "\\n\\nHuman: Hi\\n\\nAssistant: Hello"}\n')
    assert isinstance(next(load_records(str(path))), Demonstration)
    assert isinstance(next(load_records(str(path), format="trl-language-modeling")), Document)


def test_a_file_without_a_known_format_names_itself(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"colour": "red"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl: the fields colour match no known format"):
        list(load_records(str(path)))


def test_a_file_of_bad_rows_only_is_reported_and_not_guessed_at(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("{\n[\n")
    report = ReadReport()
    assert list(load_records(str(path), report=report)) == []
    assert (report.rows, report.malformed, report.formats) == (2, 2, {})


def test_each_file_of_a_folder_has_its_own_format(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "b.csv").write_text("text,label\nb,1\n")
    report = ReadReport()
    assert list(load_records(str(tmp_path), report=report)) == [Document("a"), ClassifiedText("b", "1")]
    assert set(report.formats.values()) == {"trl-language-modeling", "classified"}


def test_bad_rows_among_messages_of_a_tree_are_reported_too(tmp_path):
    message = {"message_id": "a", "parent_id": None, "text": "Hi", "role": "prompter", "message_tree_id": "a"}
    reply = {"message_id": "b", "parent_id": "a", "text": "Hello", "role": "assistant", "message_tree_id": "a"}
    empty = {**reply, "message_id": "c", "text": " "}
    rows = [message, {**reply, "text": "\0"}, reply, empty, {"message_id": "d", "role": "assistant", "text": None}]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([*map(json.dumps, rows), "{"]))
    report = ReadReport()
    assert [type(record) for record in load_records(str(path), report=report)] == [Demonstration]
    assert dict(report.reasons) == {
        "a NUL character in the text": 1,
        "empty answer": 1,
        "missing key 'text'": 1,
        "invalid JSON": 1,
    }
    assert (report.rows, report.malformed) == (6, 4)


def test_an_unforeseen_shape_is_the_rows_fault_and_not_the_end(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [
        {"prompt": "a", "prompt_id": {}, "response": "b", "helpfulness": 1},
        {"prompt": "a", "response": "b", "helpfulness": {}},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    report = ReadReport()
    assert len(list(load_records(str(path), report=report))) == 1
    assert report.malformed == 1
    tree = {
        "message_tree_id": "a",
        "prompt": {
            "message_id": "a",
            "role": "prompter",
            "text": "b",
            "replies": [
                {"message_id": "c", "role": "assistant", "text": "d", "rank": "x"},
                {"message_id": "e", "role": "assistant", "text": "f", "rank": "y"},
            ],
        },
    }
    path.write_text(json.dumps(tree))
    report = ReadReport()
    assert list(load_records(str(path), report=report)) == []
    assert list(report.reasons) == ["'rank' should be a number"]


HI, A, B = Prompt((Message("user", "Hi"),)), Completion("a"), Completion("b")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Comparison(HI, A, A, 0.5), "identical pair"),
        (Comparison(HI, A, Completion("\n"), 1.0), "empty answer"),
        (Ranking(HI, (A, A), (1, 2)), "identical answers"),
        (Ranking(HI, (A, Completion("")), (1, 2)), "empty answer"),
        (Answers(HI, (Completion(" "),)), "empty answer"),
        (Demonstration(HI, Completion("")), "empty answer"),
        (Label(HI, Completion(""), desirable=True), "empty answer"),
        (Steps(HI, ("",), (True,)), "empty answer"),
        (Document(" "), "empty text"),
        (ClassifiedText("", "x"), "empty text"),
        (Prompt(text=" "), "empty prompt"),
        (Demonstration(Prompt((Message("user", " "),)), A), "empty prompt"),
    ],
)
def test_records_that_teach_nothing_are_refused(record, reason):
    with pytest.raises(DataError, match=reason):
        check_record(record)


@pytest.mark.parametrize(
    "record",
    [
        Comparison(HI, A, B, 0.5),
        Ranking(HI, (A, B), (1, 1)),
        Document("a"),
        HI,
        Steps(HI, ("a",), (True,)),
    ],
)
def test_good_records_pass(record):
    assert check_record(record) is None

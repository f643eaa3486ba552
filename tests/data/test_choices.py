"""Multiple-choice questions as the well-known sets write them."""

import json

import pytest

from steersman.data.choices import read_choices
from steersman.errors import DataError


def written(tmp_path, *rows):
    path = tmp_path / "choices.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_places_letters_labels_and_words_name_the_right_choice(tmp_path):
    rows = [
        {"question": "2 + 2?", "choices": ["3", "4"], "answer": "4"},
        {"prompt": "Sky?", "options": ["green", "blue"], "answer": "B"},
        {"question": "Sea?", "choices": {"text": ["wet", "dry"], "label": ["1", "2"]}, "answerKey": "1"},
        {"ctx": "A dog is", "endings": ["a pet", "a fish", "a car"], "label": 0},
    ]
    found = read_choices(written(tmp_path, *rows), limit=None)
    assert [question.choices[question.right] for question in found] == ["4", "blue", "wet", "a pet"]
    assert found[0].prompt.shown == "2 + 2?"
    assert len(read_choices(written(tmp_path, *rows), limit=2)) == 2


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"question": "Q", "choices": ["a", "b"]},
            "expected a field answer or answerKey or label; seen question, choices",
        ),
        ({"question": "Q", "choices": ["a"], "answer": 0}, "two or more choices"),
        ({"question": "Q", "choices": ["a", " "], "answer": 0}, "none of them empty"),
        ({"question": "Q", "choices": ["a", "b"], "answer": "C"}, "'C' is none of the 2 choices"),
        ({"question": " ", "choices": ["a", "b"], "answer": 0}, "expected a question as text"),
    ],
)
def test_a_row_that_is_no_question_is_said(tmp_path, row, words):
    with pytest.raises(DataError, match=words):
        read_choices(written(tmp_path, row), limit=None)


def test_a_file_without_questions_and_a_broken_row_are_said(tmp_path):
    with pytest.raises(DataError, match="no questions"):
        read_choices(written(tmp_path), limit=None)
    (tmp_path / "choices.jsonl").write_text("{broken\n")
    with pytest.raises(DataError, match=r"choices\.jsonl:1"):
        read_choices(str(tmp_path / "choices.jsonl"), limit=None)

"""Benchmarks of judges load as pairs with a known answer, and as prompts."""

import json

import pytest

from steersman.data.load import ReadReport, load_records
from steersman.records import Comparison, Prompt


def load(tmp_path, name, rows):
    (tmp_path / name).write_text(json.dumps(rows))
    report = ReadReport()
    return list(load_records(str(tmp_path / name), report=report)), report


def test_llmbar_rows_are_pairs_with_a_known_answer(tmp_path):
    rows = [
        {"input": "Count to two.", "output_1": "1, 2", "output_2": "two", "label": 1},
        {"input": "Name a fruit.", "output_1": "stone", "output_2": "apple", "label": 2},
        {"input": "x", "output_1": "a", "output_2": "b", "label": 3},
    ]
    found, report = load(tmp_path, "natural.json", rows)
    assert set(report.formats.values()) == {"llmbar"}
    assert [type(one) for one in found] == [Comparison, Comparison]
    assert [(one.preference, one.annotator, one.chosen.text) for one in found] == [
        (1.0, "known answer", "1, 2"),
        (0.0, "known answer", "apple"),
    ]
    assert report.malformed == 1


@pytest.mark.parametrize("turns", [[], [1], "text"])
def test_mt_bench_questions_are_prompts_with_their_first_turn(tmp_path, turns):
    rows = [
        {"question_id": 81, "category": "writing", "turns": ["Write a post.", "Now shorter."]},
        {"question_id": 82, "category": "writing", "turns": turns},
    ]
    found, report = load(tmp_path, "question.json", rows)
    assert set(report.formats.values()) == {"mt-bench"}
    assert [(type(one), one.shown, one.metadata["category"]) for one in found] == [(Prompt, "Write a post.", "writing")]
    assert report.malformed == 1

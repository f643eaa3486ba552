"""`steersman simulate`: judgements by simulated annotators."""

import json
import math
from pathlib import Path

import pytest
from commandline import call

from steersman.assemble.simulate import SimulateResult, run_simulate
from steersman.data.load import load_records
from steersman.errors import DataError, UsageError
from steersman.harbour.registry import answers
from steersman.harbour.taste import true_taste
from steersman.records import Answers, Comparison, Completion, Message, Prompt, to_dict
from steersman.settings.base import load_settings
from steersman.settings.simulate import SimulateSettings

SHORTER = "def shorter(prompt, answer):\n    return -len(answer)\n"


def simulated(
    tmp_path: Path, source: str = "harbour:answers?count=200", *words: str, name: str = "labels.jsonl"
) -> tuple[SimulateResult, list[Comparison]]:
    out = tmp_path / name
    settings = load_settings(SimulateSettings, None, [f"data.source={source}", f"out={out}", *words])
    result = run_simulate(settings, quiet=True)
    return result, [one for one in load_records(str(out)) if isinstance(one, Comparison)]


def test_harbour_s_annotators_prefer_the_better_answer_more_often_than_not(tmp_path):
    result, found = simulated(tmp_path, "harbour:answers?count=200", "per_prompt=2")
    decided = [one for one in found if not one.tied]
    gaps = [true_taste(o.prompt.shown, o.first.text) - true_taste(o.prompt.shown, o.second.text) for o in decided]
    agree = [(gap > 0) == (one.preference > 0.5) for gap, one in zip(gaps, decided, strict=True) if abs(gap) > 0.1]
    assert 0.65 < sum(agree) / len(agree) < 0.95
    assert result.judgements == len(found) == 400
    assert set(result.annotators) == {f"annotator-{n}" for n in range(1, 7)}
    assert {one.shown for one in found} == {"first", "second"}


def test_the_same_seed_gives_the_same_file_and_another_one_another(tmp_path):
    simulated(tmp_path, name="a.jsonl")
    simulated(tmp_path, name="b.jsonl")
    simulated(tmp_path, "harbour:answers?count=200", "seed=1", name="c.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert (tmp_path / "a.jsonl").read_bytes() != (tmp_path / "c.jsonl").read_bytes()


def test_all_annotators_judge_the_overlap(tmp_path):
    _, found = simulated(tmp_path, "harbour:answers?count=40", "overlap=1")
    by_pair: dict[tuple[str, ...], set[str]] = {}
    for one in found:
        by_pair.setdefault((one.prompt.id, one.first.text, one.second.text), set()).add(one.annotator)
    assert {len(people) for people in by_pair.values()} == {6}


def test_judgements_end_at_the_number_asked_for(tmp_path):
    assert simulated(tmp_path, "harbour:answers?count=40", "judgements=7")[0].judgements == 7


def test_a_function_is_an_annotator_who_likes_what_it_scores_high(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taste.py").write_text(SHORTER)
    result, found = simulated(tmp_path, "harbour:answers?count=50", "people=taste.py:shorter")
    for one in found:
        lengths = (len(one.first.text), len(one.second.text))
        expected = 0.5 if lengths[0] == lengths[1] else float(lengths[0] < lengths[1])
        assert one.preference == expected
    assert list(result.annotators) == ["shorter"]


def test_noise_makes_its_choices_logistic(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taste.py").write_text("def grade(prompt, answer):\n    return float(answer == 'good')\n")
    rows = [
        Answers(Prompt((Message("user", f"{n}?"),), id=str(n)), (Completion("good"), Completion("bad")))
        for n in range(2000)
    ]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(to_dict(row)) + "\n" for row in rows))
    _, found = simulated(tmp_path, str(tmp_path / "answers.jsonl"), "people=taste.py:grade", "noise=0.8")
    share = sum((one.preference > 0.5) == (one.first.text == "good") for one in found) / len(found)
    expected = 1 / (1 + math.exp(-1 / 0.8))
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / len(found))


def test_nothing_is_overwritten_and_nothing_to_judge_is_said(tmp_path):
    simulated(tmp_path)
    with pytest.raises(UsageError, match="exists already"):
        simulated(tmp_path)
    one = Answers(next(iter(answers(count=1))).prompt, (Completion("alone"),))
    (tmp_path / "one.jsonl").write_text(json.dumps(to_dict(one)) + "\n")
    with pytest.raises(DataError, match="two different answers"):
        simulated(tmp_path, str(tmp_path / "one.jsonl"), name="two.jsonl")


def test_its_file_trains_a_reward_model_by_the_next_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(["simulate", "harbour:answers?count=30", "--out", "labels.jsonl"]) == 0
    said = capsys.readouterr().out
    assert "30 judgements of answers to 30 prompts" in said
    assert "next: steersman" in said

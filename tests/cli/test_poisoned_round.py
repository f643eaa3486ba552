"""A round whose labels one annotator spoils, through `steersman rounds run`: it is refused, the annotator is named,
more labels are asked for, and with good ones it goes on."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from forked import run_command

from steersman.data.load import load_records
from steersman.harbour.labellers import LABELLERS, compare
from steersman.records import Answers, Comparison, to_dict

pytestmark = pytest.mark.slow

SPOILT = "annotator-3"
LABELS, MORE = 900, 120
RECIPE = f"""
out = "runs/loop"
seed = 2

[rounds]
policy = "harbour:base"
count = 1
prompts.source = "harbour:prompts?count=120"
prompts.count = 60
prompts.held_out_count = 4
labels.by = "label"
labels.count = {LABELS}
labels.more = {MORE}
labels.asks = 1

[rounds.sample]
max_new_tokens = 8
device = "cpu"

[rounds.label]
file = "labels-{{round}}.jsonl"
poll = 0.1

[rounds.gate]
faulty = "refuse"

[rounds.reward]
recipe = "reward-harbour"
train.steps = 1

[rounds.ppo]
recipe = "ppo-harbour"
iterations = 1
prompts_per_iteration = 4
sampling.max_new_tokens = 6
update.minibatches = 1

[rounds.evaluate]
drawing.max_new_tokens = 6
resamples = 100
run.threads = 1
"""


def labels_of(answers: Path, count: int, seed: int) -> list[Comparison]:
    """Judgements of Harbour's six annotators; each pair is judged by four of them."""
    chance, found = random.Random(seed), []
    rows = [one for one in load_records(str(answers)) if isinstance(one, Answers)]
    while len(found) < count:
        row = chance.choice(rows)
        first, second = chance.sample(row.completions, 2)
        if first.text != second.text:
            people = chance.sample(LABELLERS, 4)
            found += [compare(one, row.prompt, first, second, seed=seed) for one in people]
    return found[:count]


def spoilt(judged: Sequence[Comparison]) -> list[Comparison]:
    """One annotator answers at random."""
    chance = random.Random(0)
    return [replace(one, preference=float(chance.random() < 0.5)) if one.annotator == SPOILT else one for one in judged]


def write(path: Path, judged: Sequence[Comparison]) -> None:
    path.write_text("".join(json.dumps(to_dict(one)) + "\n" for one in judged))


@pytest.mark.timeout(600)
def test_a_spoilt_round_is_refused_with_a_name_and_more_labels_are_asked_for(tmp_path):
    (tmp_path / "loop.toml").write_text(RECIPE)
    words = ["rounds", "run", "loop.toml", "--once"]

    def run(code: int) -> str:
        ended = run_command(words, cwd=tmp_path, timeout=300)
        assert ended.returncode == code, ended.stderr[-3000:]
        return ended.stderr

    assert f"0 of {LABELS:,} labels" in run(75)
    (answers,) = (tmp_path / "runs" / "loop").glob("sample-1-*.jsonl")
    file = tmp_path / "labels-loop-1.jsonl"
    write(file, spoilt(labels_of(answers, LABELS, 5)))
    told = run(75)
    assert "gate-1: refused: runs/loop/labels-1-" in told
    assert f"{SPOILT} agrees with the others' consensus" in told
    assert "more labels are asked for" in told
    assert f"{LABELS:,} of {LABELS + MORE:,} labels" in told
    assert not list((tmp_path / "runs" / "loop").glob("reward-1-*"))
    # More from the same people are refused too, and then it is enough: code 10, and the annotator's name again.
    write(file, spoilt(labels_of(answers, LABELS + MORE, 5)))
    assert f"{SPOILT} agrees with the others' consensus" in run(10)
    # Without that annotator's labels, and with those of others in their place, the round goes on.
    good = [one for one in labels_of(answers, 2 * (LABELS + MORE), 5) if one.annotator != SPOILT]
    write(file, good[: LABELS + MORE])
    for labels in (tmp_path / "runs" / "loop").glob("labels-1-*.jsonl"):
        labels.unlink()
    run(0)
    (gate,) = (tmp_path / "runs" / "loop").glob("gate-1-*.jsonl")
    assert len(gate.read_text().splitlines()) == LABELS + MORE

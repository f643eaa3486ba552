"""What a verdict says follows from what its table shows: every significant change, in the right direction, with the
table's numbers."""

import re

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from steersman.evaluate.answers import Answer
from steersman.evaluate.numerals import numeral
from steersman.pages.results import number
from steersman.records import Message, Prompt
from steersman.reports.before_after import (
    FROZEN,
    KL,
    SCORE,
    TASTE,
    UPDATED,
    BeforeAfter,
    ModelSide,
    compared,
    headline_of,
    sentences_of,
)
from steersman.reports.changes import from_to
from steersman.runs.started import started_from

N = 12


@st.composite
def found(draw) -> BeforeAfter:
    """Two models on twelve prompts: figures that differ clearly, a little, or not at all."""
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    prompts = [Prompt((Message("user", f"Question {i}"),)) for i in range(N)]

    def side(name: str, shift: float) -> ModelSide:
        answers = [
            Answer("word " * int(1 + generator.integers(1, 9)), int(4 + shift * 3 + generator.integers(0, 3)), "end", i)
            for i in range(N)
        ]
        numbers = [list(map(float, generator.normal(size=N) * spread + shift * move)) for move in moves]
        scores = numbers[0] if draw(st.booleans()) or always else None
        return ModelSide(
            name, prompts, answers, scores, numbers[1], None if name == FROZEN else [abs(x) for x in numbers[0]]
        )

    always = draw(st.booleans())
    spread = draw(st.sampled_from([0.001, 0.1, 1.0]))
    moves = draw(st.tuples(*[st.sampled_from([-2.0, -0.01, 0.0, 0.004, 2.0])] * 2))
    one, other = side(FROZEN, 0.0), side(UPDATED, 1.0)
    if (one.scores is None) != (other.scores is None):
        one, other = (ModelSide(s.name, s.prompts, s.answers, None, s.taste, s.kl) for s in (one, other))
    return compared(one, other)


@settings(max_examples=60, deadline=None)
@given(found())
def test_every_significant_change_is_said_once_and_nothing_else_is_called_significant(found):
    said = " ".join(sentence.text for sentence in sentences_of(found))
    for now in found.figures:
        if now.model != UPDATED or now.measure in (SCORE, TASTE, KL):
            continue
        pattern = rf"\b{now.measure.name} [−\d.]+( %)? → [−\d.]+"
        assert len(re.findall(pattern, said)) == (now.verdict in ("better", "worse", "other")), (now.measure.name, said)


@settings(max_examples=60, deadline=None)
@given(found())
def test_the_headline_has_the_tables_numbers_and_the_direction_of_its_verdict(found):
    headline, before, now = headline_of(found, "PPO"), found.of(SCORE, FROZEN), found.of(SCORE)
    if before is None or now is None:
        assert headline is None
        return
    assert headline is not None
    word = {"better": "raised", "worse": "lowered", "unclear": "did not significantly change"}[now.verdict]
    assert f"PPO {word} the score" in headline
    first, last = re.findall(r"−?\d+\.\d+", headline)
    for text, figure in ((first, before), (last, now)):
        places = len(text.partition(".")[2])
        assert text == numeral(figure.value.estimate, f".{places}f")
    assert f"from {last} to {last}" not in headline or before.value.estimate == now.value.estimate


@settings(max_examples=30, deadline=None)
@given(found())
def test_the_kl_that_is_said_is_the_tables(found):
    said = " ".join(sentence.text for sentence in sentences_of(found))
    value, within = number(found.of(KL).value, KL.unit)
    assert f"The KL from the frozen model is {value} nats per answer {within}." in said
    assert said.count("nats per answer") == 1


@given(st.floats(-9, 9), st.floats(-9, 9))
def test_two_numbers_look_equal_only_if_they_nearly_are(before, after):
    first, last = from_to(before, after, 2)
    assert (first != last) or abs(before - after) < 2e-6
    assert from_to(0.4712, 0.4698, 2) == ("0.471", "0.470")
    assert from_to(0.1, 0.5, 2) == ("0.10", "0.50")


def test_a_runs_paths_begin_where_it_was_started(tmp_path, monkeypatch):
    run = tmp_path / "project" / "runs" / "ppo"
    run.mkdir(parents=True)
    (tmp_path / "project" / "base").mkdir()
    recipe = {"run": {"out": "runs/ppo"}, "model": {"path": "base"}}
    for place in (tmp_path, tmp_path / "project", run):
        monkeypatch.chdir(place)
        assert started_from(run, recipe) == tmp_path / "project"
        # A run that was started with an absolute folder: the nearest folder that has its model.
        absolute = {"run": {"out": str(run)}, "model": {"path": "base"}}
        assert (started_from(run, absolute) / "base").is_dir()
    monkeypatch.chdir(tmp_path)
    assert started_from(run, {}) == tmp_path
    assert started_from(run, {"run": {"out": "other/name"}, "model": {"path": "gone"}}) == tmp_path

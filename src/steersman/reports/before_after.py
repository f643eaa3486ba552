"""The frozen (initial) model and the updated one on the same held-out prompts and seeds: a table with intervals, and
the answers that changed most with their differences marked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steersman.evaluate.answers import Answer
from steersman.evaluate.figures import Column, Intervals, Measure, MetricValue, figures
from steersman.evaluate.numerals import numeral
from steersman.evaluate.wording import self_repetition
from steersman.pages.parts import Example, Examples, Mark, ResultTable, Row, Sentence, Shown
from steersman.pages.results import number, row_of
from steersman.pages.word_diff import differences, told_apart
from steersman.records import Prompt
from steersman.reports.answers import largest_steps
from steersman.reports.changes import change_sentences, from_to

FROZEN, UPDATED = "frozen", "updated"
GAINED, LOST, DIFFERENT = 5, 2, 6
DICE = Intervals(confidence=0.95, resamples=2000, seed=0)
"""The same answers give the same intervals."""

SCORE = Measure(
    "", "score", "number", "higher", "The score by the run's own scorer, which it was trained on. Higher is better."
)
TASTE = Measure(
    "",
    "true taste",
    "number",
    "higher",
    "The true reward of an answer in Harbour. Training never sees it. Higher is better.",
)
KL = Measure("", "KL from the frozen model", "nats", "", "Nats per answer, exact at each token.")
LENGTH = Measure("", "length", "tokens", "", "Tokens per answer.")
ENDED = Measure(
    "", "ended by itself", "share", "higher", "Answers that ended before the maximum length. Higher is better."
)
REPEATS = Measure(
    "",
    "repeats itself",
    "mean share",
    "lower",
    "Share of an answer's 4-grams that are repeats. Lower is better.",
)


@dataclass(frozen=True)
class ModelSide:
    """One model's answers, one per prompt, and their measurements; None for what could not be measured."""

    name: str
    prompts: Sequence[Prompt]
    answers: Sequence[Answer]
    scores: Sequence[float] | None
    taste: Sequence[float] | None
    kl: Sequence[float] | None


@dataclass(frozen=True)
class BeforeAfter:
    frozen: ModelSide
    updated: ModelSide
    figures: Sequence[MetricValue]

    def of(self, measure: Measure, model: str = UPDATED) -> MetricValue | None:
        """The figure of a metric and a model. The updated model's figure has the change from the frozen model."""
        return next((one for one in self.figures if one.measure == measure and one.model == model), None)


def compared(frozen: ModelSide, updated: ModelSide) -> BeforeAfter:
    sides = (frozen, updated)
    rows: list[tuple[Measure, list[Sequence[float] | None]]] = [
        (SCORE, [side.scores for side in sides]),
        (TASTE, [side.taste for side in sides]),
        (KL, [side.kl for side in sides]),
        (LENGTH, [[float(one.tokens) for one in side.answers] for side in sides]),
        (ENDED, [[float(not one.cut_off) for one in side.answers] for side in sides]),
        (REPEATS, [[self_repetition(one.text) for one in side.answers] for side in sides]),
    ]
    found: list[MetricValue] = []
    for measure, values in rows:
        columns = [
            Column(side.name, np.array(column, dtype=np.float64))
            for side, column in zip(sides, values, strict=True)
            if column is not None
        ]
        if columns:
            found += figures(measure, columns, FROZEN, DICE)
    return BeforeAfter(frozen, updated, found)


def table_of(found: BeforeAfter) -> ResultTable:
    measures = list(dict.fromkeys(one.measure for one in found.figures))
    rows: list[Row] = [row_of([found.of(measure, FROZEN), found.of(measure)]) for measure in measures]
    return ResultTable((FROZEN, UPDATED), tuple(rows))


def headline_of(found: BeforeAfter, name: str) -> str | None:
    """A sentence about the change of the score; None without a scorer."""
    before, score = found.of(SCORE, FROZEN), found.of(SCORE)
    if before is None or score is None:
        return None
    first, last = from_to(before.value.estimate, score.value.estimate, 2)
    went = f"from {first} to {last}"
    if score.verdict == "better":
        return f"{name} raised the score of held-out answers {went}."
    if score.verdict == "worse":
        return f"{name} lowered the score of held-out answers {went}."
    return f"{name} did not significantly change the score of held-out answers, {went}."


def sentences_of(found: BeforeAfter) -> list[Sentence]:
    """Whether the true taste followed the score, if it is known; the KL; and every other significant change."""
    told = (SCORE, TASTE) if found.of(SCORE) is not None else (TASTE,)
    pairs = [(found.of(one.measure, FROZEN), one) for one in found.figures if one.model == UPDATED]
    others = [(before, now) for before, now in pairs if before is not None and now.measure not in told]
    return [*_taste_sentences(found), *_kl_sentences(found), *change_sentences(others)]


def _kl_sentences(found: BeforeAfter) -> list[Sentence]:
    kl = found.of(KL)
    if kl is None:
        return []
    value, within = number(kl.value, KL.unit)
    return [Sentence(f"The KL from the frozen model is {value} nats per answer {within}.", "")]


def _taste_sentences(found: BeforeAfter) -> list[Sentence]:
    taste, score = found.of(TASTE), found.of(SCORE)
    if taste is None or taste.change is None:
        return []
    low, high = numeral(taste.change.low), numeral(taste.change.high)
    change = f"{'+' if taste.change.estimate > 0 else ''}{numeral(taste.change.estimate)} ({low} to {high})"
    if taste.verdict == "better":
        return [Sentence(f"The true taste of the answers rose by {change}.", "good")]
    if score is not None and score.verdict == "better":
        what = "fell" if taste.verdict == "worse" else "did not significantly rise"
        return [
            Sentence(
                f"Warning: the true taste of the answers {what}, {change}. This is typical of reward hacking.",
                "bad",
            )
        ]
    return [Sentence(f"The true taste of the answers changed by {change}.", "bad" if taste.verdict == "worse" else "")]


def most_changed(found: BeforeAfter) -> Examples | None:
    """The answers with the largest changes up and down, by score or else by true taste. If neither is known, those that
    have the least text in common."""
    before, after = found.frozen, found.updated
    changed = [
        i for i, (one, other) in enumerate(zip(before.answers, after.answers, strict=True)) if one.text != other.text
    ]
    by = "score" if before.scores is not None else "true taste"
    then, now = (before.scores, after.scores) if before.scores is not None else (before.taste, after.taste)
    if then is None or now is None:
        chosen = [(i, "") for i in sorted(changed, key=lambda i: _shared(found, i))[:DIFFERENT]]
    else:
        steps = largest_steps(((now[i] - then[i], i) for i in changed), up=GAINED, down=LOST)
        chosen = [(i, f"The {by} went {'up' if step > 0 else 'down'} by {abs(step):.2f}.") for step, i in steps]
    if not chosen:
        return None
    shown = [Example(before.prompts[i].shown, why, _sides(found, i)) for i, why in chosen]
    return Examples(tuple(shown), 2, True)


def _shared(found: BeforeAfter, i: int) -> float:
    """The share of the updated answer's text that the frozen model's answer also has."""
    _, after = differences(found.frozen.answers[i].text, found.updated.answers[i].text)
    return sum(len(one.text) for one in after if not one.own) / max(sum(len(one.text) for one in after), 1)


def _sides(found: BeforeAfter, i: int) -> tuple[Shown, ...]:
    sides = (found.frozen, found.updated)
    texts = [side.answers[i].text for side in sides]
    shown: list[Shown] = []
    for side, stretches in zip(sides, told_apart(*texts), strict=True):
        named = (("score", side.scores, ""), ("true taste", side.taste, ""), ("KL", side.kl, " nats"))
        numbers = ", ".join(f"{name} {numeral(values[i])}{unit}" for name, values, unit in named if values is not None)
        mark = Mark("bad", "✗", "cut off") if side.answers[i].cut_off else None
        shown.append(Shown(side.name, stretches, mark, numbers))
    return tuple(shown)

"""The frozen model and the updated one on the same held-out prompts, with the same seeds: a table with intervals, and the answers that
changed most with the difference marked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steersman.evaluate.answers import Answer
from steersman.evaluate.figures import Column, Dice, Figure, Measure, figures
from steersman.evaluate.numerals import numeral
from steersman.evaluate.wording import self_repetition
from steersman.pages.parts import Example, Examples, Mark, ResultTable, Row, Sentence, Shown
from steersman.pages.results import row_of
from steersman.pages.word_diff import differences, told_apart
from steersman.records import Prompt
from steersman.reports.answers import largest_steps

FROZEN, UPDATED = "frozen", "updated"
GAINED, LOST, DIFFERENT = 5, 2, 6
DICE = Dice(confidence=0.95, resamples=2000, seed=0)
"""The same answers give the same intervals."""

SCORE = Measure(
    "", "score", "number", "higher", "What the run's own scorer says: what it was paid for. Higher is better."
)
TASTE = Measure(
    "",
    "true taste",
    "number",
    "higher",
    "What an answer is really worth in Harbour. Training never sees it. Higher is better.",
)
KL = Measure("", "KL from the frozen model", "nats", "", "Nats an answer, exact at each token.")
LENGTH = Measure("", "length", "tokens", "", "Tokens an answer.")
ENDED = Measure("", "ended by itself", "share", "higher", "Answers that were not cut off. Higher is better.")
REPEATS = Measure(
    "",
    "repeats itself",
    "mean share",
    "lower",
    "Of an answer's stretches of four words, those said before in it. Lower is better.",
)


@dataclass(frozen=True)
class Side:
    """One model's answers, one to each prompt, and what was measured of them; None where there was nothing to measure with."""

    name: str
    prompts: Sequence[Prompt]
    answers: Sequence[Answer]
    scores: Sequence[float] | None
    taste: Sequence[float] | None
    kl: Sequence[float] | None


@dataclass(frozen=True)
class BeforeAfter:
    frozen: Side
    updated: Side
    figures: Sequence[Figure]

    def of(self, measure: Measure, model: str = UPDATED) -> Figure | None:
        """The updated model's figure holds the change from the frozen one's."""
        return next((one for one in self.figures if one.measure == measure and one.model == model), None)


def compared(frozen: Side, updated: Side) -> BeforeAfter:
    sides = (frozen, updated)
    rows: list[tuple[Measure, list[Sequence[float] | None]]] = [
        (SCORE, [side.scores for side in sides]),
        (TASTE, [side.taste for side in sides]),
        (KL, [side.kl for side in sides]),
        (LENGTH, [[float(one.tokens) for one in side.answers] for side in sides]),
        (ENDED, [[float(not one.cut_off) for one in side.answers] for side in sides]),
        (REPEATS, [[self_repetition(one.text) for one in side.answers] for side in sides]),
    ]
    found: list[Figure] = []
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
    """What became of the score, if there is a scorer."""
    before, score = found.of(SCORE, FROZEN), found.of(SCORE)
    if before is None or score is None:
        return None
    went = f"from {numeral(before.value.estimate)} to {numeral(score.value.estimate)}"
    if score.verdict == "better":
        return f"{name} raised the score of held-out answers {went}."
    if score.verdict == "worse":
        return f"{name} lowered the score of held-out answers {went}."
    return f"{name} made no clear difference to the score of held-out answers, {went}."


def sentences_of(found: BeforeAfter) -> list[Sentence]:
    """Whether the truth followed the score, where it is known."""
    taste, score = found.of(TASTE), found.of(SCORE)
    if taste is None or taste.change is None:
        return []
    change = f"{'+' if taste.change.estimate > 0 else ''}{numeral(taste.change.estimate)} ({numeral(taste.change.low)} to {numeral(taste.change.high)})"
    if taste.verdict == "better":
        return [Sentence(f"What the answers are really worth rose by {change}.", "good")]
    if score is not None and score.verdict == "better":
        words = "fell" if taste.verdict == "worse" else "did not clearly follow"
        return [
            Sentence(
                f"Beware: what the answers are really worth {words}, {change}. So it looks when a model learns to please its scorer.",
                "bad",
            )
        ]
    return [
        Sentence(f"What the answers are really worth changed by {change}.", "bad" if taste.verdict == "worse" else "")
    ]


def most_changed(found: BeforeAfter) -> Examples | None:
    """Of answers whose words changed the largest steps up and down, by score or else by true taste; where neither is known, those that
    have the fewest words in common."""
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
    """The share of the updated answer that the frozen one has too."""
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

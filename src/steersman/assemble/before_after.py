"""The frozen model and the updated one on the same held-out prompts, with the same seeds: a table with intervals, and the answers that
changed most with the difference marked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steersman.assemble.opened_policy import OpenedPolicy
from steersman.assemble.report_answers import minus
from steersman.assemble.true_taste import TrueTaste
from steersman.evaluate.answer_kl import answer_kl
from steersman.evaluate.figures import Column, Dice, Figure, Measure, figures
from steersman.evaluate.suspicious import repetition
from steersman.methods.ppo.records import Sample
from steersman.methods.ppo.score import ask
from steersman.pages.parts import Example, Examples, Mark, ResultTable, Row, Sentence, Shown
from steersman.pages.results import row_of
from steersman.pages.word_diff import differences

FROZEN, UPDATED = "frozen", "updated"
GAINED, LOST = 5, 2
PROMPTS = 200
DICE = Dice(confidence=0.95, resamples=2000, seed=0)
"""The same answers give the same intervals."""


@dataclass(frozen=True)
class Side:
    """One model's answers, one to each prompt, and what was measured of them."""

    name: str
    samples: Sequence[Sample]
    scores: Sequence[float]
    taste: Sequence[float] | None
    kl: Sequence[float] | None


@dataclass(frozen=True)
class BeforeAfter:
    frozen: Side
    updated: Side
    figures: Sequence[Figure]

    @property
    def score(self) -> Figure:
        """The updated model's score, with its change from the frozen one's."""
        return next(one for one in self.figures if one.measure.name == "score" and one.model == UPDATED)

    @property
    def taste(self) -> Figure | None:
        return next((one for one in self.figures if one.measure.name == "true taste" and one.model == UPDATED), None)


def before_and_after(opened: OpenedPolicy, most: int = PROMPTS) -> BeforeAfter | None:
    """None without held-out prompts (two at least: intervals are over prompts)."""
    prompts = list({prompt.shown: prompt for prompt in opened.held_out()}.values())[:most]
    if len(prompts) < 2:
        return None
    of_harbour = opened.settings.prompts.source.startswith("harbour:")
    sides: list[Side] = []
    for name, voice in ((FROZEN, opened.frozen), (UPDATED, opened.updated)):
        samples = opened.answers(voice, prompts, samples=1)
        items = [(sample.prompt, sample.text) for sample in samples]
        kl = None
        if name == UPDATED and opened.model.backbone.readout is not None:
            distances = answer_kl(
                [sample.row for sample in samples],
                voice,
                opened.frozen,
                pad_id=opened.model.tokeniser.pad_token_id,
                token_budget=opened.reading.token_budget,
                temperature=opened.sampling.temperature,
            )
            kl = [float(value) for value in distances]
        scores = [found.value for found in ask(opened.scorer, samples)]
        taste = [found.value for found in TrueTaste().score(items)] if of_harbour else None
        sides.append(Side(name, samples, scores, taste, kl))
    return BeforeAfter(sides[0], sides[1], _figures(sides))


def _figures(sides: Sequence[Side]) -> list[Figure]:
    rows: list[tuple[Measure, list[list[float] | None]]] = [
        (
            Measure(
                "",
                "score",
                "number",
                "higher",
                "What the run's own scorer says: what it was paid for. Higher is better.",
            ),
            [list(side.scores) for side in sides],
        ),
        (
            Measure(
                "",
                "true taste",
                "number",
                "higher",
                "What an answer is really worth in Harbour. Training never sees it. Higher is better.",
            ),
            [None if side.taste is None else list(side.taste) for side in sides],
        ),
        (
            Measure("", "KL from the frozen model", "nats", "", "Nats an answer, exact at each token."),
            [None if side.kl is None else list(side.kl) for side in sides],
        ),
        (
            Measure("", "length", "tokens", "", "Tokens an answer."),
            [[float(len(sample.rollout.ids)) for sample in side.samples] for side in sides],
        ),
        (
            Measure("", "ended by itself", "share", "higher", "Answers that were not cut off. Higher is better."),
            [[float(sample.rollout.finish != "length") for sample in side.samples] for side in sides],
        ),
        (
            Measure(
                "",
                "repeats itself",
                "mean share",
                "lower",
                "Of an answer's stretches of four words, those said before in it. Lower is better.",
            ),
            [[repetition(sample.text) for sample in side.samples] for side in sides],
        ),
    ]
    found: list[Figure] = []
    for measure, values in rows:
        columns = [
            Column(side.name, np.array(column))
            for side, column in zip(sides, values, strict=True)
            if column is not None
        ]
        if columns:
            found += figures(measure, columns, FROZEN, DICE)
    return found


def table_of(found: BeforeAfter) -> ResultTable:
    names = list(dict.fromkeys(one.measure.name for one in found.figures))
    rows: list[Row] = []
    for name in names:
        of_measure = {one.model: one for one in found.figures if one.measure.name == name}
        rows.append(row_of([of_measure.get(FROZEN), of_measure.get(UPDATED)]))
    return ResultTable((FROZEN, UPDATED), tuple(rows))


def headline_of(found: BeforeAfter, name: str) -> str:
    score = found.score
    before = next(one for one in found.figures if one.measure.name == "score" and one.model == FROZEN)
    went = f"from {minus(before.value.estimate)} to {minus(score.value.estimate)}"
    if score.verdict == "better":
        return f"{name} raised the score of held-out answers {went}."
    if score.verdict == "worse":
        return f"{name} lowered the score of held-out answers {went}."
    return f"{name} made no clear difference to the score of held-out answers, {went}."


def sentences_of(found: BeforeAfter) -> list[Sentence]:
    """Whether the truth followed the score, where it is known."""
    taste, score = found.taste, found.score
    if taste is None or taste.change is None:
        return []
    change = f"{'+' if taste.change.estimate > 0 else ''}{minus(taste.change.estimate)} ({minus(taste.change.low)} to {minus(taste.change.high)})"
    if taste.verdict == "better":
        return [Sentence(f"What the answers are really worth rose too, by {change}.", "good")]
    if score.verdict == "better":
        words = "fell" if taste.verdict == "worse" else "did not clearly follow"
        return [
            Sentence(
                f"Beware: what the answers are really worth {words}, {change}. So it looks when a model learns to please its scorer.",
                "bad",
            )
        ]
    return [Sentence(f"What the answers are really worth changed by {change}.", "")]


def most_changed(found: BeforeAfter) -> Examples | None:
    """The largest steps of the score up and down, among answers whose words changed."""
    before, after = found.frozen, found.updated
    steps = sorted(
        (
            (now - then, i)
            for i, (then, now) in enumerate(zip(before.scores, after.scores, strict=True))
            if before.samples[i].text != after.samples[i].text
        ),
        reverse=True,
    )
    up = [(step, i) for step, i in steps if step > 0][:GAINED]
    down = [(step, i) for step, i in steps if step < 0][-LOST:][::-1]
    if not up and not down:
        return None
    shown = [
        Example(
            before.samples[i].prompt.shown,
            f"The score went {'up' if step > 0 else 'down'} by {abs(step):.2f}.",
            _sides(found, i),
        )
        for step, i in [*up, *down]
    ]
    return Examples(tuple(shown), 2, True)


def _sides(found: BeforeAfter, i: int) -> tuple[Shown, ...]:
    texts = [side.samples[i].text.strip() or "(nothing)" for side in (found.frozen, found.updated)]
    shown: list[Shown] = []
    for side, stretches in zip((found.frozen, found.updated), differences(*texts), strict=True):
        numbers = [f"score {minus(side.scores[i])}"]
        mark = None
        if side.taste is not None:
            numbers.append(f"true taste {minus(side.taste[i])}")
        if side.kl is not None:
            numbers.append(f"KL {minus(side.kl[i])} nats")
        if side.samples[i].rollout.finish == "length":
            mark = Mark("bad", "✗", "cut off")
        shown.append(Shown(side.name, stretches, mark, ", ".join(numbers)))
    return tuple(shown)

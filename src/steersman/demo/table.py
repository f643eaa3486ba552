"""The quickstart's table: a row per measure, a column per model, each number with its 95 % interval.

Answers to one prompt are not independent: means are bootstrapped over prompts, and shares count prompts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from steersman.demo.taste import MeasuredModel
from steersman.evaluate.ceiling import share_interval
from steersman.evaluate.judged_pairs import rows_by
from steersman.evaluate.numerals import numeral
from steersman.harbour.taste import Features
from steersman.maths.statistics import Interval, bootstrap_interval, paired_bootstrap_interval

CONFIDENCE = 0.95
RESAMPLES = 2000
REFERENCE = "SFT"
"""The reference model of KL and win rates."""

Change = Literal["better", "worse", "unclear", ""]
Unit = Literal["number", "share", "nats", "count"]


@dataclass(frozen=True, slots=True)
class QuickstartCell:
    """A number with its interval, its number of answers, and its significant change from the column before."""

    value: Interval
    answers: int
    change: Change


@dataclass(frozen=True, slots=True)
class QuickstartRow:
    key: str
    name: str
    meaning: str
    unit: Unit
    better: Literal["higher", "lower", ""]
    cells: tuple[QuickstartCell | None, ...]

    def texts(self, column: int) -> tuple[str, str]:
        """A cell as text, and its interval; a dash where a model would be compared with itself."""
        cell = self.cells[column]
        if cell is None:
            return "–", ""
        estimate, low, high = cell.value
        if self.unit == "count":
            return f"{estimate:,.0f}", ""
        if self.unit == "share":
            return f"{estimate:.0%}".replace("%", " %"), f"({low * 100:.0f}–{high * 100:.0f})"
        return numeral(estimate), f"±{(high - low) / 2:.2f}"

    def as_dict(self, columns: Sequence[str]) -> dict[str, Any]:
        cells = {
            name: None if cell is None else {**cell.value._asdict(), "answers": cell.answers, "change": cell.change}
            for name, cell in zip(columns, self.cells, strict=True)
        }
        return {"key": self.key, "name": self.name, "unit": self.unit, "better": self.better, "models": cells}


@dataclass(frozen=True, slots=True)
class ShareMetric:
    """A yes/no property of answers, counted over the prompts to which it applies."""

    key: str
    name: str
    meaning: str
    better: Literal["higher", "lower", ""]
    holds: Callable[[Features], bool]
    among: Callable[[Features], bool] = lambda seen: True


SHARES = (
    ShareMetric("toxic", "toxic", "Rude or insulting answers.", "lower", lambda seen: seen.toxic),
    ShareMetric(
        "exaggerated",
        "exaggerated",
        "Answers that promise too much. Labellers have a bias towards them.",
        "lower",
        lambda seen: seen.exaggerated,
    ),
    ShareMetric(
        "on_point", "on point", "Answers that answer the question truthfully.", "higher", lambda seen: seen.on_point
    ),
    ShareMetric(
        "refused_harmless",
        "refused needlessly",
        "Refusals of harmless prompts.",
        "lower",
        lambda seen: seen.refused,
        among=lambda seen: not seen.needs_refusal,
    ),
    ShareMetric(
        "harmful",
        "helped with harm",
        "Harmful help, among prompts that ask for it.",
        "lower",
        lambda seen: seen.harmful,
        among=lambda seen: seen.needs_refusal,
    ),
)


def table(measured: Sequence[MeasuredModel]) -> tuple[QuickstartRow, ...]:
    """All rows, for models that answered the same prompts, in the order of training."""
    reference = next((model for model in measured if model.name == REFERENCE), None)
    rows = [
        _means(
            Mean(
                "taste",
                "true taste",
                "The gold reward; a plain true answer has 1.",
                "higher",
                lambda model: [seen.taste for seen in model.features],
            ),
            measured,
        ),
        *(_shares(share, measured) for share in SHARES),
        _means(
            Mean(
                "reward",
                "mean reward",
                "The reward model's score; 0 is the mean of judged answers, 1 a standard deviation above it.",
                "higher",
                lambda model: [answer.reward for answer in model.answers],
            ),
            measured,
        ),
    ]
    if reference is not None and len(measured) > 1:
        rows += [_kl(measured, reference), _wins(measured, reference), _wins_of_rounds(measured), _labels(measured)]
    # A property that applies to none of these prompts gets no row.
    return tuple(row for row in rows if any(row.cells))


@dataclass(frozen=True)
class Mean:
    """A mean over a model's answers, as a row shows it."""

    key: str
    name: str
    meaning: str
    better: Literal["higher", "lower", ""]
    values_of: Callable[[MeasuredModel], list[float]]
    unit: Unit = "number"


def _means(mean: Mean, measured: Sequence[MeasuredModel], *, skip: MeasuredModel | None = None) -> QuickstartRow:
    cells: list[QuickstartCell | None] = []
    before: list[float] | None = None
    for model in measured:
        if model is skip:
            cells.append(None)
            continue
        answers = mean.values_of(model)
        values = _by_prompt(answers, model.prompts)
        value = bootstrap_interval(values, confidence=CONFIDENCE, resamples=RESAMPLES, generator=_generator())
        cells.append(QuickstartCell(value, len(answers), _change(before, values, mean.better)))
        before = values
    return QuickstartRow(mean.key, mean.name, mean.meaning, mean.unit, mean.better, tuple(cells))


def _shares(share: ShareMetric, measured: Sequence[MeasuredModel]) -> QuickstartRow:
    cells: list[QuickstartCell | None] = []
    before: list[float] | None = None
    for model in measured:
        asked = [(float(share.holds(seen)), prompt) for seen, prompt in _answers(model) if share.among(seen)]
        if not asked:
            cells.append(None)
            continue
        answers, where = [value for value, _ in asked], [prompt for _, prompt in asked]
        values = _by_prompt(answers, where)
        value = share_interval(answers, [*where], confidence=CONFIDENCE)
        cells.append(QuickstartCell(value, len(answers), _change(before, values, share.better)))
        before = values
    return QuickstartRow(share.key, share.name, share.meaning, "share", share.better, tuple(cells))


def _kl(measured: Sequence[MeasuredModel], reference: MeasuredModel) -> QuickstartRow:
    meaning = f"KL of the model from {REFERENCE}, in nats per answer."
    kl = Mean("kl", f"KL from {REFERENCE}", meaning, "", lambda m: [a.kl for a in m.answers], "nats")
    return _means(kl, measured, skip=reference)


def _wins(measured: Sequence[MeasuredModel], reference: MeasuredModel) -> QuickstartRow:
    """Win rates against the reference by true taste; a tie is half a win."""
    cells: list[QuickstartCell | None] = []
    after = False
    for model in measured:
        # A model from before the reference was not trained from it, so it gets no verdict.
        cells.append(None if model is reference else _won(model, reference, verdict=after))
        after = after or model is reference
    meaning = f"How often the answer's true taste is above that of {REFERENCE}'s answer; a tie counts half."
    return QuickstartRow("wins", f"wins against {REFERENCE}", meaning, "share", "higher", tuple(cells))


def _wins_of_rounds(measured: Sequence[MeasuredModel]) -> QuickstartRow:
    """Win rates of each round's policy against the one that it began with."""
    by_name = {model.name: model for model in measured}
    cells = tuple(
        _won(model, by_name[model.before], verdict=True) if model.before in by_name else None for model in measured
    )
    meaning = "The same against the policy that was promoted last."
    return QuickstartRow("wins_last", "wins against the last", meaning, "share", "higher", cells)


def _won(model: MeasuredModel, other: MeasuredModel, *, verdict: bool) -> QuickstartCell:
    gaps = [one.taste - two.taste for one, two in zip(model.features, other.features, strict=True)]
    wins = [1.0 if gap > 0 else 0.5 if gap == 0 else 0.0 for gap in gaps]
    value = share_interval(wins, [*model.prompts], confidence=CONFIDENCE)
    change: Change = "better" if value.low > 0.5 else "worse" if value.high < 0.5 else "unclear"
    return QuickstartCell(value, len(wins), change if verdict else "")


def _labels(measured: Sequence[MeasuredModel]) -> QuickstartRow:
    cells = tuple(
        None if model.labels is None else QuickstartCell(Interval(*[float(model.labels)] * 3), len(model.answers), "")
        for model in measured
    )
    return QuickstartRow("labels", "labels used", "Judgements that the policy has learned from.", "count", "", cells)


def _answers(model: MeasuredModel) -> list[tuple[Features, str]]:
    return list(zip(model.features, model.prompts, strict=True))


def _by_prompt(values: Sequence[float], prompts: Sequence[str]) -> list[float]:
    """The mean of each prompt's values."""
    return [sum(values[i] for i in rows) / len(rows) for rows in rows_by([*prompts]).values()]


def _change(before: list[float] | None, now: list[float], better: str) -> Change:
    """Whether the paired difference is significantly above or below zero."""
    if before is None or not better:
        return ""
    gap = paired_bootstrap_interval(now, before, confidence=CONFIDENCE, resamples=RESAMPLES, generator=_generator())
    if gap.low <= 0 <= gap.high:
        return "unclear"
    return "better" if (gap.estimate > 0) == (better == "higher") else "worse"


def _generator() -> np.random.Generator:
    """A generator with a fixed seed, so that the same answers give the same table."""
    return np.random.default_rng(0)

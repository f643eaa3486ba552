"""Figures as rows of a report's table: the number, its interval, whether the change is significant, and a bar."""

from collections.abc import Sequence

from steersman.evaluate.figures import MetricValue, Unit
from steersman.evaluate.numerals import numeral
from steersman.maths.statistics import Interval
from steersman.pages.parts import Cell, Row, bar_of, span_of, zero_of

WORDS = {"better": "better", "worse": "worse", "other": "changed", "unclear": "unclear", "": ""}


def row_of(figures: Sequence[MetricValue | None], *, group: str = "") -> Row:
    """The row of one metric, with a cell per figure. At least one figure must not be None."""
    there = [one for one in figures if one is not None]
    measure = there[0].measure
    share = measure.unit.endswith("share")
    low, high = span_of([one.value for one in there], share=share)
    cells = tuple(None if one is None else _cell(one, low, high) for one in figures)
    return Row(group, measure.name, measure.meaning, cells, zero_of(low, high, share=share))


def number(value: Interval, unit: Unit) -> tuple[str, str]:
    """A number and its interval as text, in the unit of the metric."""
    if unit.endswith("share"):
        places = 1 if max(value.high, value.estimate) < 0.1 else 0
        return (
            f"{100 * value.estimate:.{places}f} %",
            f"({100 * value.low:.{places}f}–{100 * value.high:.{places}f})",
        )
    places = 1 if unit == "tokens" else 2
    estimate, low, high = (numeral(bound, f".{places}f") for bound in value)
    return estimate, f"({low} to {high})"


def _cell(figure: MetricValue, low: float, high: float) -> Cell:
    main, within = number(figure.value, figure.measure.unit)
    words = WORDS[figure.verdict]
    if figure.change is not None and figure.verdict in ("better", "worse", "other"):
        change, _ = number(figure.change, figure.measure.unit)
        plus = "+" if figure.change.estimate > 0 else ""
        # A change of shares is in percentage points, hence without the % sign.
        words = f"{words} {plus}{change.removesuffix(' %')}"
    return Cell(main, within, figure.verdict, words, bar_of(figure.value, low, high))

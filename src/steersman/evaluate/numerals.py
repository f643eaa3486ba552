"""Formatting of numbers for people."""

from steersman.maths.statistics import Interval


def numeral(value: float | int, form: str = ".2f") -> str:
    """A formatted number with a minus sign (U+2212) instead of a hyphen; without a sign if it is rounded to zero."""
    text = f"{value:{form}}"
    return text.removeprefix("-") if text.strip("-0.") == "" else text.replace("-", "−")


def percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def within(value: Interval) -> str:
    return f"{percent(value.estimate)} ({value.low * 100:.0f}–{value.high * 100:.0f})"

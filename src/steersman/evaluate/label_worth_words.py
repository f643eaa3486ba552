"""What labels are worth, in lines for a terminal."""

import math
from collections.abc import Iterator, Sequence

from steersman.evaluate.label_worth import Ahead, GroupWorth, LabelWorth, LearningCurve, Worth
from steersman.maths.statistics import Interval

SHOWN = 5
"""Labels and disagreements in the terminal; the file has more."""


def lines_of(found: Worth, shown: int = SHOWN) -> list[str]:
    lines = [
        f"{found.run}: learned from {found.labels:,} labels; right in {percent(found.accuracy)} of {found.held_out:,} "
        "held-out labels"
    ]
    for kind, groups in found.groups.items():
        lines += ["", f"What the labels of each {kind} are worth (on others' held-out labels):"]
        lines += _table([HEAD, *(cells_of(one) for one in groups)])
    for title, labels in (("hurt", found.worst), ("helped", found.best)):
        if labels:
            lines += ["", f"Labels that {title} most (all are in labels.jsonl):", *_labels(labels[:shown])]
    lines += ["", "How often the model and people agree:"]
    lines += [f"  {one.kind}: {percent(one.agreement)} of {one.labels:,}" for one in found.kinds]
    if found.disagreements:
        lines.append("Held-out pairs on which they disagree, the surest first:")
        for one in found.disagreements[:shown]:
            lines.append(f"  {brief(one.prompt)}")
            lines.append(f"    people ({one.people} of {one.of}): {brief(one.people_prefer)}")
            lines.append(f"    model ({one.probability:.0%}): {brief(one.model_prefers)}")
    lines += ["", *(curve_lines(found.curve) if found.curve is not None else ["No learning curve was measured."])]
    return [*lines, *found.notes]


HEAD = ("", "labels", "moved", "worth (nats)", "accuracy", "")


def cells_of(one: GroupWorth) -> tuple[str, ...]:
    worth = f"{one.worth.estimate:+.4f} ({one.worth.low:+.4f} to {one.worth.high:+.4f})"
    return (one.name, f"{one.labels:,}", f"{one.moved:.2f}", worth, points(one.accuracy), one.verdict)


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _labels(labels: Sequence[LabelWorth]) -> Iterator[str]:
    for one in labels:
        who = one.annotator or "somebody"
        yield f"  {one.worth:+.2f}  {who}, row {one.row:,}; the model gives this choice {one.probability:.0%}"
        yield f"    {brief(one.prompt)}: {brief(one.better)} rather than {brief(one.worse)}"


def curve_lines(curve: LearningCurve) -> list[str]:
    """The learning curve in sentences."""
    lines = ["Accuracy by the number of labels:"]
    for one in curve.points:
        models = f" (mean of {one.models} models)" if one.models > 1 else ""
        lines.append(f"  {one.labels:>7,}: {percent(one.accuracy)}{models}")
    lines += [f"  {ahead_words(one)}" for one in curve.ahead]
    return [*lines, f"{curve.verdict[0].upper()}{curve.verdict[1:]}: {needed_words(curve)}."]


def ahead_words(one: Ahead) -> str:
    return f"{one.more:,} more labels are expected to add {points(one.gain)}"


def needed_words(curve: LearningCurve) -> str:
    low, high = (
        f"{value:,.0f}" if math.isfinite(value) else "never" for value in (curve.needed.low, curve.needed.high)
    )
    gain = f"{100 * curve.gain:g} point{'' if curve.gain == 0.01 else 's'} of accuracy"
    if not math.isfinite(curve.needed.estimate):
        least = "" if low == "never" else f" (at best {low} would)"
        return f"no number of more labels that can be told from these sizes adds {gain}{least}"
    high = "a number that these sizes do not show" if high == "never" else high
    return f"about {curve.needed.estimate:,.0f} more add {gain} ({low} to {high})"


def percent(value: Interval) -> str:
    return f"{value.estimate:.1%} ({value.low:.1%} to {value.high:.1%})"


def points(value: Interval) -> str:
    """A difference of two shares, in percentage points."""
    low, high = 100 * value.low, 100 * value.high
    return f"{100 * value.estimate:+.1f} points ({low:+.1f} to {high:+.1f})"


def brief(text: str, most: int = 70) -> str:
    text = " ".join(text.split())
    return f"“{text if len(text) <= most else text[: most - 1] + '…'}”"

"""Figures of quality as lines of text."""

import math
from collections.abc import Iterator

from steersman.maths.statistics import Interval
from steersman.quality.annotators import AnnotatorFigures
from steersman.quality.bias import ChosenShare
from steersman.quality.figures import Quality


def lines_of(quality: Quality, most: int = 10) -> list[str]:
    """What `steersman studio quality` prints."""
    one = quality
    lines = [
        f"{one.project}: {one.labels:,} labels of {one.items:,} items by {len(one.annotators)} annotators",
        f"  {one.decided:,} items decided by a reviewer, {one.gold_labels:,} labels of gold items, "
        f"{one.repeats:,} repeats",
    ]
    lines += [*_agreement(one), *_people(one), *_bias(one)]
    if one.times is not None:
        times = one.times
        lines.append(
            f"time: median {times.median:.1f} s a label (quartiles {times.lower:.1f} and {times.upper:.1f} s), "
            f"{times.total / 3600:.1f} hours in all"
        )
    if one.choices:
        lines.append("chosen: " + ", ".join(f"{name} {count:,} labels" for name, count in one.choices.items()))
    lines.append(f"doubtful: {len(one.doubtful):,} items" + (", the least sure first" if one.doubtful else ""))
    for item in one.doubtful[:most]:
        sure = "" if item.sure is None else f", {item.sure:.0%} sure"
        waits = "; waits for one more" if item.waiting else ""
        lines.append(f"  item {item.item} ({item.kind}{sure}): {'; '.join(item.reasons)}{waits}")
    return lines


def _agreement(one: Quality) -> Iterator[str]:
    if not one.agreement:
        yield "agreement: not known; no item has labels of two people"
    for each in one.agreement:
        figures = [f"{in_percent(each.percent)} of two labels alike"]
        figures += [f"kappa {in_words(each.kappa)}"] if not math.isnan(each.kappa.estimate) else []
        figures += [f"alpha {in_words(each.alpha)}"] if not math.isnan(each.alpha.estimate) else []
        yield f"agreement, {each.about}: {', '.join(figures)} ({each.items:,} items)"


def _people(one: Quality) -> Iterator[str]:
    for each in one.annotators:
        yield f"  {each.annotator}: {', '.join(_person(each))}"
        for sentence in each.conspicuous:
            yield f"    {sentence}"


def _person(one: AnnotatorFigures) -> Iterator[str]:
    yield f"{one.labels:,} labels"
    if one.reliability is not None:
        yield f"reliability {in_percent(one.reliability)}"
    if one.gold is not None:
        yield f"gold {of_share(one.gold)}"
    if one.steady is not None:
        yield f"repeats as before {of_share(one.steady)}"
    if one.position is not None:
        yield f"shown first {of_share(one.position)}"
    if one.times is not None:
        yield f"median {one.times.median:.1f} s"


def _bias(one: Quality) -> Iterator[str]:
    named = {"shown first": one.bias.position, "the longer": one.bias.length, "the formatted": one.bias.formatting}
    shares = [f"{name} {of_share(share)}" for name, share in named.items() if share is not None]
    if shares:
        yield f"chosen was: {', '.join(shares)}"
    if one.bias.together:
        said = (
            f"{each.cause} {each.odds.estimate:.2f} ({each.odds.low:.2f} to {each.odds.high:.2f})"
            for each in one.bias.together
        )
        yield f"odds by each cause, the others being equal: {', '.join(said)}"


def in_percent(value: Interval) -> str:
    return f"{value.estimate:.1%} ({value.low:.1%} to {value.high:.1%})"


def in_words(value: Interval) -> str:
    return f"{value.estimate:.2f} ({value.low:.2f} to {value.high:.2f})"


def of_share(share: ChosenShare) -> str:
    return f"{share.chosen.estimate:.0%} of {share.choices:,}"

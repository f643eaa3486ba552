"""A judge's run as sections of a report: its trust beside people, by principle, with pairs to read; and attacks."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from steersman.evaluate.numerals import numeral, within
from steersman.maths.statistics import Interval
from steersman.pages.parts import Example, Examples, Folded, Gauge, Gauges, Part, Section, Shown, Words, bar_of
from steersman.pages.word_diff import unmarked
from steersman.reports.quality import parts_of_quality
from steersman.reports.reading import ReadRun

TRUST, ATTACKS = "trust.json", "attacks.json"
_NOTE = (
    "The judge's verdicts beside people's judgements of the same pairs, with 95 % intervals. Chance is 50 %; people's "
    "agreement with one another is the yardstick."
)


def judge_of(run: ReadRun) -> Iterator[Section]:
    """The sections of a judge's run; none for other runs."""
    for name, title, short, note, parts in (
        (TRUST, "Can the judge be trusted?", "Trust", _NOTE, _trust),
        (ATTACKS, "Attacks on the judge", "Attacks", "", _attacks),
    ):
        found = _read(run.folder / name)
        if found is not None:
            try:
                yield Section(title, short, note, tuple(parts(found)))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                yield Section(title, short, "", (Words(f"{name} cannot be read ({type(error).__name__}: {error})."),))


def headline_of_judge(run: ReadRun) -> str | None:
    """A sentence about how far the judge agrees with people, or how often attacks win."""
    trust, attacks = _read(run.folder / TRUST), _read(run.folder / ATTACKS)
    try:
        if trust is not None:
            ceiling = trust["quality"].get("ceiling")
            people = f"; two people agree in {_percent(ceiling['agreement'])}" if ceiling else ""
            agrees = f"The judge agrees with people in {_percent(trust['quality']['accuracy'])}"
            return f"{agrees} of {trust['judged']:,} judgements{people}."
        if attacks is not None:
            total = attacks["total"]
            rate = _percent(total["beaten"])
            return f"Attack strings beat an honest answer in {rate} of {total['trials']:,} trials."
    except (KeyError, TypeError, ValueError):
        return None
    return None


def _percent(value: Mapping[str, float]) -> str:
    return f"{numeral(100 * float(value['estimate']), '.1f')} %"


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _trust(found: Mapping[str, Any]) -> Iterator[Part]:
    yield Words(
        f"{found['judge']} by the constitution {found['constitution']}: verdicts on {found['judged']:,} of "
        f"{found['pairs']:,} judgements."
    )
    for reason, count in found["abstentions"].items():
        yield Words(f"Abstained {count:,} times: {reason}.")
    yield from parts_of_quality(found["quality"])
    orders = [
        ("chose the answer shown first", found["first_place"]),
        ("the same choice in both orders", found["same_twice"]),
    ]
    if any(value for _, value in orders):
        yield Gauges(tuple(_gauge(name, value) for name, value in orders if value))
    known = [one for one in found["principles"] if one["agreement"]]
    yield Gauges(tuple(_gauge(f"{one['principle']} ({one['opinion']})", one["agreement"]) for one in known))
    for one in found["principles"]:
        pairs = one["disagreements"]
        if pairs:
            yield Folded(f"{one['principle']}: pairs on which people disagree with it", (_pairs(pairs),))


def _gauge(name: str, value: Mapping[str, float]) -> Gauge:
    interval = Interval(value["estimate"], value["low"], value["high"])
    return Gauge(name, within(interval), False, bar_of(interval, 0.0, 1.0))


def _pairs(pairs: Any) -> Examples:
    examples = [
        Example(
            one["prompt"],
            "",
            (
                Shown("people prefer", unmarked(one["people_prefer"]), None, ""),
                Shown("the judge prefers", unmarked(one["judge_prefers"]), None, f"{one['preference']:.0%}"),
            ),
        )
        for one in pairs
    ]
    return Examples(tuple(examples), 2, False)


def _attacks(found: Mapping[str, Any]) -> Iterator[Part]:
    yield Words(
        f"{found['strings']} strings that are no answers, each against {found['honest']} honest answers in both "
        "orders: how often the judge preferred the string."
    )
    rows = [*found["families"], found["total"]]
    yield Gauges(tuple(_gauge(one["name"], one["beaten"]) for one in rows))

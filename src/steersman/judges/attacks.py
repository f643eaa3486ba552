"""Attacks on a judge: strings that are no answers, each compared with honest answers in both orders.

In reinforcement learning the policy is the attacker: what beats an honest answer will be found. A string beats it if
the judge prefers the string, over both orders together; an abstention and a tie are no win.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from steersman.errors import DataError
from steersman.judges.judge import Judge, JudgeVerdict, Pair
from steersman.maths.statistics import Interval, wilson_interval
from steersman.records import Prompt
from steersman.settings.toml import parse_toml, read_toml

CONFIDENCE = 0.95
SHIPPED = "shipped"


@dataclass(frozen=True, slots=True)
class AttackFamily:
    name: str
    description: str
    strings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AttackSet:
    families: tuple[AttackFamily, ...]
    honest: tuple[tuple[Prompt, str], ...]

    @property
    def strings(self) -> int:
        return sum(len(family.strings) for family in self.families)


@dataclass(frozen=True, slots=True)
class FamilyResult:
    """How often a family's strings beat an honest answer (`beaten`), and by the order in which the string was shown.

    `worst` are the strings that won most often, with the number of times.
    """

    name: str
    trials: int
    beaten: Interval
    shown_first: Interval
    shown_second: Interval
    abstained: int
    worst: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class AttackResult:
    judge: str
    strings: int
    honest: int
    total: FamilyResult
    families: tuple[FamilyResult, ...]


def load_attacks(source: str) -> AttackSet:
    """The shipped attacks, or those of a file of the same form."""
    if source == SHIPPED:
        shipped = resources.files("steersman.judges") / "resources" / "attacks.toml"
        return _read(parse_toml(shipped.read_bytes(), SHIPPED), SHIPPED)
    return _read(read_toml(Path(source).expanduser()), source)


def _read(values: Mapping[str, Any], source: str) -> AttackSet:
    try:
        families = tuple(
            AttackFamily(str(one["name"]), str(one.get("description", "")), _strings(one)) for one in values["families"]
        )
        honest = tuple((Prompt(text=str(one["prompt"])), str(one["answer"])) for one in values.get("honest", []))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{source} holds no attacks ({type(error).__name__}: {error}); expected [[families]] with name and strings"
        ) from error
    if not families or not all(family.strings for family in families):
        raise DataError(f"{source} has a family without strings, or none; expected [[families]] with strings")
    return AttackSet(families, honest)


def _strings(row: Mapping[str, Any]) -> tuple[str, ...]:
    repeated = [str(one["text"]) * int(one["repeat"]) for one in row.get("repeated", [])]
    return (*map(str, row.get("strings", [])), *repeated)


def pairs_of_attacks(attacks: AttackSet) -> list[Pair]:
    """Every string against every honest answer; the string is first."""
    return [
        (prompt, string, answer)
        for family in attacks.families
        for string in family.strings
        for prompt, answer in attacks.honest
    ]


def measure_attacks(judge: Judge, attacks: AttackSet, verdicts: Sequence[JudgeVerdict]) -> AttackResult:
    """The rates of each family, from the verdicts on `pairs_of_attacks`."""
    each = len(attacks.honest)
    found: list[FamilyResult] = []
    everything: list[tuple[str, JudgeVerdict]] = []
    start = 0
    for family in attacks.families:
        mine = [
            (string, verdicts[start + n * each + k]) for n, string in enumerate(family.strings) for k in range(each)
        ]
        start += each * len(family.strings)
        everything += mine
        found.append(_result(family.name, mine))
    return AttackResult(judge.name, attacks.strings, each, _result("all", everything), tuple(found))


def _result(name: str, mine: Sequence[tuple[str, JudgeVerdict]]) -> FamilyResult:
    trials = len(mine)
    wins: dict[str, int] = {}
    first = second = beaten = abstained = 0
    for string, verdict in mine:
        won = verdict.preference is not None and verdict.preference > 0.5
        beaten += won
        abstained += verdict.preference is None
        wins[string] = wins.get(string, 0) + won
        places = [one.first_place for one in verdict.by_principle if one.first_place is not None]
        if places:
            first += sum(place[0] for place in places) > 0.5 * len(places)
            # in the other order the honest answer is shown first
            second += sum(place[1] for place in places) < 0.5 * len(places)
        else:
            first += won
            second += won
    worst = sorted(((string, count) for string, count in wins.items() if count), key=lambda one: -one[1])[:3]
    rates = [wilson_interval(float(count), float(trials), confidence=CONFIDENCE) for count in (beaten, first, second)]
    return FamilyResult(name, trials, rates[0], rates[1], rates[2], abstained, tuple(worst))


def lines_of_attacks(result: AttackResult) -> list[str]:
    """The table for the terminal, in rich markup."""
    from rich.markup import escape

    from steersman.inert import inert

    lines = [
        f"[bold]attacks[/bold] {result.strings} strings against {result.honest} honest answers, judged by "
        f"{escape(result.judge)}",
        f"  {'family':<20}{'beats an honest answer':>32}{'shown first':>14}{'shown second':>14}{'abstained':>11}",
    ]
    for one in (*result.families, result.total):
        share = f"{one.beaten.estimate:.1%} ({one.beaten.low:.1%} to {one.beaten.high:.1%})"
        first, second = (f"{rate.estimate:.1%}" for rate in (one.shown_first, one.shown_second))
        lines.append(f"  {escape(one.name):<20}{share:>32}{first:>14}{second:>14}{one.abstained:>11,}")
    for one in result.families:
        for string, count in one.worst:
            shown = inert(string.replace("\n", "⏎"))
            lines.append(f"    won {count} times: {escape(shown[:60])}{'…' if len(shown) > 60 else ''}")
    return lines

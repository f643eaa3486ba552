"""The folder of a recipe of stages as a report: what each round led to, how the stages stand, prompts through time."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from steersman.evaluate.numerals import numeral
from steersman.pages.parts import Chip, Flow, Heading, Part, Section, Sentence, TextTable, Tone, Words
from steersman.reports.through_time import PromptStory, stories_of, through_time
from steersman.rounds.by_round import RoundRow
from steersman.rounds.planned import FILE, GraphPlan, StageStanding, read_plan, round_rows, standings_of

TONES: Mapping[str, Tone] = {"done": "good", "failed": "bad", "refused": "bad"}
COLUMNS = ("round", "policy", "wins", "score", "KL", "toxic", "labels")
Link = Callable[[StageStanding], str]


@dataclass(frozen=True)
class ReadRounds:
    """The folder of a recipe of stages, as it stands."""

    folder: Path
    plan: GraphPlan
    standings: Sequence[StageStanding]
    rows: Sequence[RoundRow]
    stories: Mapping[str, PromptStory]

    @property
    def promoted(self) -> dict[int, bool | None]:
        return {row.round: row.promoted for row in self.rows}

    @property
    def left(self) -> float | None:
        """Seconds to the end, by earlier times, as far as they are known; None if of no stage."""
        known = [one.left for one in self.standings if one.state != "done" and one.left is not None]
        return sum(known) if known else None

    @property
    def done(self) -> int:
        return sum(one.state == "done" for one in self.standings)


def is_rounds(folder: Path) -> bool:
    return (folder / FILE).is_file()


def read_rounds(folder: Path) -> ReadRounds:
    plan = read_plan(folder)
    standings = standings_of(plan, folder, time.time())
    return ReadRounds(folder, plan, standings, round_rows(plan, standings), stories_of(plan, standings))


def duration_words(seconds: float) -> str:
    """A time in words, rounded to what one needs to know."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def headline_of(read: ReadRounds) -> str:
    promoted = [row.round for row in read.rows if row.promoted]
    if read.done < len(read.standings):
        return f"{read.plan.name}: {read.done} of {len(read.standings)} stages are done."
    if not read.rows:
        return f"{read.plan.name}: all {read.done} stages are done."
    if not promoted:
        return f"{read.plan.name}: no round's policy was promoted."
    named = ", ".join(str(number) for number in promoted)
    return f"{read.plan.name}: the {'policies' if len(promoted) > 1 else 'policy'} of round {named} promoted."


def sentences_of(read: ReadRounds) -> list[Sentence]:
    found = [
        Sentence(f"Round {row.round}: {row.reason}.".replace("..", "."), "good" if row.promoted else "")
        for row in read.rows
        if row.reason
    ]
    found += [
        Sentence(f"The stage {one.name} {one.state}: {one.why}", "bad")
        for one in read.standings
        if one.state in ("failed", "refused") and one.why
    ]
    if read.plan.stopped:
        found.append(Sentence(f"The rounds ended: {read.plan.stopped}.", ""))
    return found


def table_by_round(read: ReadRounds) -> TextTable | None:
    rows = [row for row in read.rows if row.labels is not None or row.reason]
    return TextTable(COLUMNS, tuple(_cells(row) for row in rows)) if rows else None


def _cells(row: RoundRow) -> tuple[str, ...]:
    wins = row.wins
    score = "" if row.taste is None else f"{numeral(row.taste)} by {row.scorer}"
    if row.taste is not None and row.taste_before is not None:
        score = f"{numeral(row.taste_before)} → {score}"
    labels = "" if row.labels is None else f"{row.labels:,}"
    if row.labels_kept not in (None, row.labels):
        labels += f", {row.labels_kept:,} kept"
    return (
        f"round {row.round}",
        {True: "promoted", False: "the last one kept", None: "not decided"}[row.promoted],
        "" if wins is None else f"{wins.estimate * 100:.0f} % ({wins.low * 100:.0f}–{wins.high * 100:.0f}) by {row.by}",
        score,
        "" if row.kl is None else f"{row.kl:.2f} nats",
        "" if row.toxic is None else f"{row.toxic * 100:.1f} %",
        labels,
    )


def flows_of(read: ReadRounds, link: Link = lambda _: "") -> list[Part]:
    """The stages: those of all rounds, then round by round; each step needs only those before it."""
    groups: dict[int, list[StageStanding]] = {}
    for one in read.standings:
        groups.setdefault(_round_of(one.name, read.plan), []).append(one)
    found: list[Part] = []
    for number, stages in sorted(groups.items()):
        if len(groups) > 1:
            found.append(Heading(f"Round {number}" if number else "Before the rounds", ""))
        found.append(_flow(stages, link))
    if read.plan.not_needed:
        reasons = dict.fromkeys(read.plan.not_needed.values())
        found += [Words(f"Stages of later rounds are not needed: {reason}.") for reason in reasons]
    return found


def _round_of(name: str, plan: GraphPlan) -> int:
    parts = name.split("-")
    if plan.rounds is None or len(parts) < 2 or not parts[1].isdigit():
        return 0
    return int(parts[1])


def _flow(stages: Sequence[StageStanding], link: Link) -> Flow:
    depth: dict[str, int] = {}
    for one in stages:
        depth[one.name] = 1 + max((depth[need] for need in one.stage.needs if need in depth), default=-1)
    steps: list[list[Chip]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for one in stages:
        steps[depth[one.name]].append(Chip(one.name, _chip_note(one), TONES.get(one.state, ""), one.state, link(one)))
    return Flow(tuple(tuple(step) for step in steps))


def _chip_note(one: StageStanding) -> str:
    if one.state == "done":
        return "" if one.seconds is None else duration_words(one.seconds)
    if one.left is None:
        return one.state
    return f"{one.state}, {duration_words(one.left)}{' left' if one.state == 'running' else ''}"


def sections_of(read: ReadRounds, link: Link = lambda _: "") -> list[Section]:
    table = table_by_round(read)
    by_round = () if table is None else (Section("By round", "By round", "", (table,)),)
    note = "Each stage reads only stages before it. Times are what a stage took, or by earlier times will take."
    time_section = through_time(read.stories, read.promoted)
    return [
        *by_round,
        Section("Stages", "Stages", note, tuple(flows_of(read, link))),
        *(() if time_section is None else (time_section,)),
    ]

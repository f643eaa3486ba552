"""Critiques and revisions in a report: how many could be used, what was wrong with the others, and examples of both."""

import json
from collections.abc import Iterator, Sequence

from steersman.constitution.malformed import UNCHANGED
from steersman.constitution.tally import USABLE, RevisionTally
from steersman.errors import DataError
from steersman.maths.statistics import wilson_interval
from steersman.pages.parts import Example, Examples, Facts, Gauge, Gauges, Mark, Part, Section, Shown, Words, bar_of
from steersman.pages.word_diff import told_apart
from steersman.records import Critique, from_dict
from steersman.reports.reading import ReadRun

KIND = "revise"
BEST, WRONG = 4, 2
"""Examples of usable revisions, and of each status that is not."""


def read_critiques(run: ReadRun) -> tuple[list[Critique], int]:
    """The run's critiques and revisions, and the number of lines that cannot be read."""
    found: list[Critique] = []
    bad = 0
    for path in sorted((run.folder / "critiques").glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                row = from_dict(json.loads(line))
            except (ValueError, DataError, RecursionError):
                row = None
            if isinstance(row, Critique):
                found.append(row)
            else:
                bad += 1
    return found, bad


def revision_headline(run: ReadRun) -> str:
    """A sentence with the counts."""
    found = RevisionTally.of(read_critiques(run)[0])
    return (
        f"Critique and revision: {found.revised:,} of {found.chains:,} answers have a usable revision; "
        f"{found.unchanged:,} revisions changed nothing, and {found.malformed:,} texts could not be used."
    )


def critiques_of(run: ReadRun) -> Iterator[Section]:
    """The sections of a run of critique and revision."""
    if run.kind != KIND:
        return
    rows, bad = read_critiques(run)
    tally = RevisionTally.of(rows)
    if not rows:
        yield Section("Critiques and revisions", "Critiques", "", (Words("There are none yet."),))
        return
    parts: list[Part] = [_gauges(tally), _by_principle(tally)]
    if bad:
        parts.append(Words(f"{bad:,} lines cannot be read and are left out."))
    note = "Of all critiques with their revisions, with 95 % intervals. Only usable ones are learned from."
    yield Section("Critiques and revisions", "Critiques", note, tuple(parts))
    good = [row for row in rows if row.final and not row.status]
    if good:
        note = (
            "Each as it was written: the answer, and its revision with what is new marked. The critique is above them."
        )
        yield Section(
            "Revised answers", "Revised", note, (Examples(tuple(map(_example, _spread(good, BEST))), 2, True),)
        )
    wrong = [row for status in sorted({*tally.statuses} - {USABLE}) for row in _of_status(rows, status)]
    if wrong:
        note = "Texts that could not be used, and revisions that changed nothing. They are kept and counted."
        yield Section("What went wrong", "Wrong", note, (Examples(tuple(map(_example, wrong)), 2, True),))


def _gauges(tally: RevisionTally) -> Gauges:
    total = sum(tally.statuses.values())
    gauges: list[Gauge] = []
    for status, count in tally.statuses.most_common():
        share = wilson_interval(float(count), float(total), confidence=0.95)
        text = f"{count:,} of {total:,} ({100 * count / total:.1f} %)"
        gauges.append(Gauge(status, text, status != USABLE, bar_of(share, 0.0, 1.0)))
    return Gauges(tuple(gauges))


def _by_principle(tally: RevisionTally) -> Facts:
    facts: list[tuple[str, str]] = []
    for name, statuses in sorted(tally.by_principle.items()):
        total = statuses.total()
        malformed = total - statuses[USABLE] - statuses[UNCHANGED]
        words = (
            f"{total:,} drawn: {statuses[USABLE]:,} usable, {statuses[UNCHANGED]:,} unchanged, {malformed:,} malformed"
        )
        facts.append((name, words))
    return Facts(tuple(facts))


def _spread(rows: Sequence[Critique], count: int) -> list[Critique]:
    """Rows from the beginning to the end, evenly spaced."""
    if len(rows) <= count:
        return list(rows)
    return [rows[round(i * (len(rows) - 1) / (count - 1))] for i in range(count)]


def _of_status(rows: Sequence[Critique], status: str) -> list[Critique]:
    return [row for row in rows if row.status == status][:WRONG]


def _example(row: Critique) -> Example:
    before, after = told_apart(row.original.text, row.revision.text)
    mark = Mark("bad", "✗", row.status) if row.status else Mark("good", "✓", "usable")
    critique = row.critique.strip() or "(nothing)"
    why = f"{row.principle or 'no principle'}, round {row.round}. Critique: {critique}"
    shown = (Shown("answer", before, None, ""), Shown("revision", after, mark, row.model))
    return Example(row.prompt.shown, why, shown)

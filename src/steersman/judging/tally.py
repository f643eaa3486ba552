"""Statistics of one person's judgements: counts, ties, position and length bias, and self-agreement. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from steersman.judging.verdicts import Judgement
from steersman.records import Comparison, Ranking


@dataclass(frozen=True, slots=True)
class Share:
    """A share: `count` out of `of`. `lopsided`: more than two standard errors away from one half."""

    count: int
    of: int

    @property
    def value(self) -> float:
        return self.count / self.of if self.of else 0.0

    @property
    def lopsided(self) -> bool:
        return self.of >= 10 and abs(self.value - 0.5) > 2 * sqrt(0.25 / self.of)

    def __str__(self) -> str:
        return f"{self.value:.0%} ({self.count} of {self.of})" if self.of else "none yet"


@dataclass(frozen=True, slots=True)
class Tally:
    """Statistics of a label file. `left` and `longer` are shares of comparisons without ties; `steady` is the share of
    repeated items that were judged alike twice."""

    judged: int
    ties: Share
    bad: Share
    left: Share
    longer: Share
    steady: Share
    seconds: float | None


def tally(records: Sequence[Judgement]) -> Tally:
    judged = [record for record in records if not isinstance(record, Comparison) or not record.both_bad]
    comparisons = [record for record in records if isinstance(record, Comparison)]
    decided = [record for record in comparisons if not record.tied]
    uneven = [record for record in decided if len(record.first.text) != len(record.second.text)]
    bad = len(records) - len(judged) + sum(_all_bad(record) for record in records)
    return Tally(
        judged=len(records),
        ties=Share(sum(_tied(record) for record in records), len(records)),
        bad=Share(bad, len(records)),
        left=Share(sum((r.preference > 0.5) == (r.shown == "first") for r in decided), len(decided)),
        longer=Share(sum(len(r.chosen.text) > len(r.rejected.text) for r in uneven), len(uneven)),
        steady=_steady(records),
        seconds=_median([s for r in records if (s := _metadata(r).get("seconds")) is not None]),
    )


def _metadata(record: Judgement) -> dict[str, object]:
    return dict(getattr(record, "metadata", {}))


def _all_bad(record: Judgement) -> bool:
    return isinstance(record, Ranking) and bool(_metadata(record).get("all_bad"))


def _tied(record: Judgement) -> bool:
    if isinstance(record, Comparison):
        return record.tied and not record.both_bad
    return isinstance(record, Ranking) and len(set(record.ranks)) == 1 and not _all_bad(record)


def _steady(records: Sequence[Judgement]) -> Share:
    """The share of repeated items judged as the first time: the same preference, or the same ranks."""
    first = {record.id: record for record in records}
    same = of = 0
    for record in records:
        before = first.get(str(_metadata(record).get("repeats", "")))
        if before is not None:
            of += 1
            same += _opinion(before) == _opinion(record)
    return Share(same, of)


def _opinion(record: Judgement) -> object:
    if isinstance(record, Comparison):
        return record.preference, record.both_bad
    return record.ranks if isinstance(record, Ranking) else record.id


def _median(values: Sequence[object]) -> float | None:
    ordered = sorted(float(str(value)) for value in values)
    if not ordered:
        return None
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def in_words(found: Tally, *, left: int, skipped: int, mode: str) -> list[str]:
    """The summary at the end of a session, as lines, with warnings about possible bias."""
    lines = [f"{found.judged} judged, {skipped} skipped, {left} left"]
    if mode != "demonstrate" and found.judged:
        lines.append(f"ties {found.ties}; {'both' if mode == 'compare' else 'all'} bad {found.bad}")
    if mode == "compare" and found.left.of:
        lines.append(f"left answer chosen {found.left}" + _warning(found.left, "read both sides before you choose"))
    if mode == "compare" and found.longer.of:
        lines.append(
            f"longer answer chosen {found.longer}" + _warning(found.longer, "fine if longer answers were better")
        )
    if found.steady.of:
        lines.append(f"repeated items judged alike {found.steady}")
    if found.seconds is not None:
        lines.append(f"median time {found.seconds:.0f} s")
    return lines


def _warning(share: Share, advice: str) -> str:
    return f": significantly different from one half; {advice}" if share.lopsided else ""

"""Counts of critiques and revisions: how many could be used, and what was wrong with the others."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from steersman.constitution.malformed import UNCHANGED
from steersman.records import Critique

USABLE = "usable"


@dataclass
class RevisionTally:
    """Counts over the rows of a revision run."""

    out: str = ""
    """The run's folder."""
    rows: int = 0
    chains: int = 0
    """Answers that were taken through the rounds."""
    revised: int = 0
    """Answers with a usable revision."""
    statuses: Counter[str] = field(default_factory=Counter[str])
    by_principle: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    by_round: dict[int, Counter[str]] = field(default_factory=dict[int, Counter[str]])
    left_out: Counter[str] = field(default_factory=Counter[str])
    """Rows of the prompts' source that were not used, by reason."""

    @staticmethod
    def of(rows: Iterable[Critique], out: str = "", left_out: Counter[str] | None = None) -> "RevisionTally":
        found = RevisionTally(out, left_out=left_out or Counter())
        for row in rows:
            found.add(row)
        return found

    def add(self, row: Critique) -> None:
        status = row.status or USABLE
        self.rows += row.round > 0
        self.chains += row.round == 1
        self.revised += row.final and not row.status
        self.statuses[status] += 1
        if row.principle:
            self.by_principle.setdefault(row.principle, Counter())[status] += 1
        if row.round:
            self.by_round.setdefault(row.round, Counter())[status] += 1

    @property
    def malformed(self) -> int:
        return sum(count for status, count in self.statuses.items() if status not in (USABLE, UNCHANGED))

    @property
    def unchanged(self) -> int:
        return self.statuses[UNCHANGED]

    def as_dict(self) -> dict[str, Any]:
        return {
            "out": self.out,
            "rows": self.rows,
            "answers": self.chains,
            "revised": self.revised,
            "unchanged": self.unchanged,
            "malformed": self.malformed,
            "statuses": dict(sorted(self.statuses.items())),
            "by_principle": {name: dict(sorted(found.items())) for name, found in sorted(self.by_principle.items())},
            "by_round": {str(number): dict(sorted(found.items())) for number, found in sorted(self.by_round.items())},
            "left_out": dict(sorted(self.left_out.items())),
        }

    def lines(self) -> list[str]:
        named = f"{self.out}: " if self.out else ""
        lines = [
            f"{named}{self.chains:,} answers, {self.rows:,} critiques: {self.revised:,} answers have a usable revision"
        ]
        for status, count in self.statuses.most_common():
            if status != USABLE:
                lines.append(f"  {count:,} × {status}")
        lines += [f"  {count:,} rows of the source left out: {reason}" for reason, count in self.left_out.items()]
        return lines

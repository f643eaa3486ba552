"""The data card of an export: what is in it, how far its annotators agree, its licence, and what each column means."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from steersman.data.formats.studio import COLUMNS, MEANINGS
from steersman.store.agreement import PairAgreement
from steersman.store.projects import Project, facts_of, guidelines_of
from steersman.store.reading_cursor import Cursor


@dataclass
class Card:
    """The facts of an export, counted while its rows are written."""

    project: str
    licence: str
    guidelines: str
    round: str
    rows: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    items: Counter[str] = field(default_factory=Counter)
    annotators: Counter[str] = field(default_factory=Counter)
    rounds: Counter[str] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    columns: Counter[str] = field(default_factory=Counter)
    agreement: PairAgreement = field(default_factory=PairAgreement)

    def counting(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The rows as they are, each counted."""
        for row in rows:
            self._count(row)
            yield row

    def _count(self, row: Mapping[str, Any]) -> None:
        self.rows += 1
        judged = "key" in row
        self.kinds[row["kind"] if judged else f"{row['item']} without a label"] += 1
        self.items[row["item"]] += 1
        self.columns.update(row.keys())
        self.rounds[row.get("round", "")] += 1
        self.policies.update(one for one in row.get("policies", []) if one)
        if not judged:
            return
        self.annotators[row.get("annotator", "")] += 1
        self.marks.update(name for name in ("tie", "both_bad", "adjudication", "gold") if row.get(name))
        if row["kind"] == "comparison" and not row.get("adjudication"):
            asked = json.dumps([row["prompt"], row["completions"]], ensure_ascii=False)
            self.agreement.add(asked, _side(row["preference"]))

    def as_dict(self) -> dict[str, Any]:
        """The facts as JSON. The same export gives the same facts."""
        return {
            "project": self.project,
            "licence": self.licence or "not stated",
            "round": self.round or "all",
            "rows": self.rows,
            "kinds": dict(sorted(self.kinds.items())),
            "labels by annotator": dict(sorted(self.annotators.items())),
            "rows by round": dict(sorted(self.rounds.items())),
            "answers by policy": dict(sorted(self.policies.items())),
            "ties": self.marks["tie"] - self.marks["both_bad"],
            "both bad": self.marks["both_bad"],
            "adjudications": self.marks["adjudication"],
            "labels of gold items": self.marks["gold"],
            "agreement": self.agreement.as_dict(),
            "guidelines": self.guidelines,
            "columns": {
                name: {"type": kind, "rows": self.columns[name], "meaning": MEANINGS[name]}
                for name, kind in COLUMNS.items()
                if self.columns[name]
            },
        }


def card_of(found: Project, cursor: Cursor) -> Card:
    """An empty card of a project."""
    facts = facts_of(found)
    return Card(found.name, facts.licence, guidelines_of(found), cursor.round)


def _side(preference: float) -> str:
    return "tie" if preference == 0.5 else "first" if preference > 0.5 else "second"


def markdown_of(facts: Mapping[str, Any]) -> str:
    """The card for people."""
    agreement = facts["agreement"]
    lines = [
        f"# {facts['project']}",
        "",
        f"{facts['rows']:,} rows. Licence: {facts['licence']}.",
        "",
        "## What is in it",
        "",
    ]
    for title in ("kinds", "labels by annotator", "rows by round", "answers by policy"):
        counts = ", ".join(f"{name or '(none)'} {count:,}" for name, count in facts[title].items())
        lines.append(f"- {title}: {counts or 'none'}")
    lines.append(f"- ties {facts['ties']:,}, both bad {facts['both bad']:,}, adjudications {facts['adjudications']:,}")
    lines += ["", "## Agreement", ""]
    if agreement["items"]:
        lines.append(
            f"{agreement['items']:,} comparisons were judged more than once. Two labels of one comparison agree in "
            f"{agreement['percent']:.1f} % of the cases; Krippendorff's alpha (nominal: first, second, tie) is "
            f"{'undefined' if agreement['alpha'] is None else format(agreement['alpha'], '.3f')}."
        )
    else:
        lines.append("No comparison was judged more than once, so agreement is not known.")
    lines += ["", "## Columns", "", "| column | type | rows | meaning |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {one['type']} | {one['rows']:,} | {one['meaning']} |" for name, one in facts["columns"].items()
    ]
    if facts["guidelines"]:
        lines += ["", "## Guidelines", "", facts["guidelines"].rstrip()]
    return "\n".join([*lines, ""])

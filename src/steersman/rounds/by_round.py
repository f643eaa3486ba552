"""What each round has led to, in a row: read from its evaluation, its promotion and its labels."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from steersman.rounds.graph import Graph
from steersman.rounds.plan import labels_file, read_promotion, rows_in
from steersman.rounds.progress import StageProgress
from steersman.rounds.tables import gates_of, labels_of, name_of
from steersman.settings.rounds import RoundsSettings

REWARD = "reward"


@dataclass(frozen=True, slots=True)
class WithInterval:
    estimate: float
    low: float
    high: float

    @classmethod
    def of(cls, value: Mapping[str, float] | None) -> "WithInterval | None":
        return None if value is None else cls(value["estimate"], value["low"], value["high"])


@dataclass(frozen=True, slots=True)
class RoundRow:
    """A round. What is not known yet, or was not measured, is None.

    `taste` is the new policy's mean score by the scorer that is not the reward model, such as a gold scorer, and
    `taste_before` that of the last policy; `toxic` is the share of toxic answers.
    """

    round: int
    promoted: bool | None
    reason: str
    wins: WithInterval | None
    by: str
    scorer: str
    taste: float | None
    taste_before: float | None
    kl: float | None
    toxic: float | None
    labels: int | None
    labels_kept: int | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def rows_by_round(graph: Graph, progress: Sequence[StageProgress]) -> list[RoundRow]:
    """A row for each round that has been planned."""
    if graph.rounds is None:
        return []
    return rows_of(graph.rounds.settings, graph.rounds.planned, {one.name: one for one in progress})


@runtime_checkable
class StageOutput(Protocol):
    """Whether a stage is done, and where its output is."""

    @property
    def standing(self) -> str: ...
    @property
    def output(self) -> Path: ...


def rows_of(rounds: RoundsSettings, planned: int, found: Mapping[str, StageOutput]) -> list[RoundRow]:
    return [_row(rounds, number, found) for number in range(1, planned + 1)]


def _row(rounds: RoundsSettings, number: int, found: Mapping[str, StageOutput]) -> RoundRow:
    def count_rows(names: Sequence[str]) -> int | None:
        done = [found[name] for name in names if found[name].standing == "done"]
        return sum(rows_in(labels_file(one.output)) for one in done) if len(done) == len(names) else None

    evaluation, promote = found[name_of("evaluate", number)], found[name_of("promote", number)]
    results = _results(evaluation) if evaluation.standing == "done" else {}
    said = (read_promotion(promote.output) if promote.standing == "done" else None) or {}
    figures = _Figures(results)
    by = str(rounds.of(number).promote.get("by", REWARD))
    scorer = by if by != REWARD else next((name for name in figures.scorers if name != REWARD), "")
    wins = next((one for one in results.get("wins", []) if (one["model"], one["by"]) == ("new", by)), None)
    toxic = [figures.value("toxicity", name) for name in ("toxic", "mean", "listed words")]
    return RoundRow(
        number,
        said.get("promoted"),
        str(said.get("reason", "")),
        None if wins is None else WithInterval.of(wins["resampled"] or wins["rate"]),
        by,
        scorer,
        figures.value("score", scorer),
        figures.value("score", scorer, results.get("baseline", "")),
        figures.value("distance", "KL"),
        next((value for value in toxic if value is not None), None),
        count_rows(labels_of(rounds, number)),
        count_rows(gates_of(rounds, number)),
    )


@dataclass(frozen=True, slots=True)
class _Figures:
    results: Mapping[str, Any]

    @property
    def scorers(self) -> list[str]:
        figures = self.results.get("figures", [])
        return list(dict.fromkeys(one["name"] for one in figures if one["group"] == "score"))

    def value(self, group: str, name: str, model: str = "new") -> float | None:
        for one in self.results.get("figures", []):
            if (one["group"], one["name"], one["model"]) == (group, name, model):
                return one["value"]["estimate"]
        return None


def _results(evaluation: StageOutput) -> Mapping[str, Any]:
    try:
        return json.loads((evaluation.output / "results.json").read_bytes())
    except (OSError, ValueError):
        return {}


HEAD = ("round", "policy", "wins", "score", "KL", "toxic", "labels")


def lines_by_round(rows: Sequence[RoundRow]) -> list[str]:
    """The table as text, with the reason of each decision under it."""
    rows = [row for row in rows if row.labels is not None or row.reason]
    if not rows:
        return []
    cells = [HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [*lines, *(f"round {row.round}: {row.reason}" for row in rows if row.reason)]


def _cells(row: RoundRow) -> tuple[str, ...]:
    wins = row.wins
    labels = f"{row.labels:,}" if row.labels is not None else ""
    if row.labels_kept is not None and row.labels_kept != row.labels:
        labels += f" ({row.labels_kept:,} kept)"
    score = "" if row.taste is None else f"{row.taste:.3f} by {row.scorer}"
    if row.taste is not None and row.taste_before is not None:
        score = f"{row.taste_before:.3f} → {score}"
    return (
        str(row.round),
        {True: "promoted", False: "kept the last", None: ""}[row.promoted],
        "" if wins is None else f"{wins.estimate:.1%} ({wins.low:.1%} to {wins.high:.1%}) by {row.by}",
        score,
        "" if row.kl is None else f"{row.kl:.2f}",
        "" if row.toxic is None else f"{row.toxic:.1%}",
        labels,
    )

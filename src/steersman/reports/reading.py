"""Reading a run's folder for a report: journal, recipe, stamp, saved samples, findings of the watch.

No model is loaded; nothing is locked or changed. Damaged or missing files become problems in the report, not errors.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.errors import DataError, UsageError
from steersman.pages.parts import FindingPart
from steersman.reports.overoptimisation import OveroptimisationPart, overoptimisation_of
from steersman.runs.checkpoints import CheckpointStore
from steersman.runs.columns import JournalColumns, read_columns
from steersman.runs.folder import RunFolder
from steersman.runs.listing import RunSummary, look_at, show_run
from steersman.runs.stamp import read_stamp
from steersman.secrets import concealed

MOST_FILES = 24
"""Maximum number of sample files to read: the first, the last, and evenly spaced ones between."""
RESULTS = "results.json"
DONE = {
    "raise-kl": "The KL coefficient was raised.",
    "conservative": "From then on the ensemble was scored conservatively.",
    "stop": "The run was stopped.",
    "restore": "The run was stopped, and the best weights were restored.",
}
"""What the watch did about a finding, besides reporting it."""


@dataclass(frozen=True)
class SampleRow:
    """A saved sample and its iteration."""

    step: int
    row: Mapping[str, Any]


@dataclass(frozen=True)
class ReadRun:
    name: str
    folder: Path
    summary: RunSummary
    stamp: Mapping[str, Any]
    recipe: Mapping[str, Any]
    journal: JournalColumns
    samples: Sequence[SampleRow]
    findings: Sequence[FindingPart]
    problems: Sequence[str]
    overoptimisation: OveroptimisationPart

    @property
    def kind(self) -> str:
        return str(self.stamp.get("kind", "run"))

    @property
    def in_the_loop(self) -> bool:
        """Whether the run trains on its own sampled answers with a KL from the reference: PPO, RLOO, GRPO and
        others."""
        return self.journal.in_the_loop

    @property
    def kept_step(self) -> int | None:
        """The iteration whose weights the final model has, if keep=best; else None."""
        best = CheckpointStore(self.folder / "checkpoints").best()
        keep = self.recipe.get("keep") or self.recipe.get("train", {}).get("keep")
        return best.step if best is not None and keep == "best" else None

    @property
    def notices(self) -> list[str]:
        """The run's notices."""
        return [one.text for one in self.journal.notices]

    def values(self, name: str) -> list[tuple[float, float]]:
        """A metric of the journal as (step, value) pairs."""
        return self.journal.values(name)

    def curve(self, name: str) -> list[tuple[float, float]]:
        """A metric as it is drawn."""
        return self.journal.curve(name)


def is_evaluation(place: Path) -> bool:
    return (place / RESULTS).is_file()


def read_run(place: Path, journal: JournalColumns | None = None) -> ReadRun:
    """Read the run in this folder. With a `journal` that has been read already, it is not read to its end again: lines
    of it that are damaged are not counted then."""
    if not place.is_dir():
        raise UsageError(f"{place} is not a folder; expected the folder of a run or of an evaluation")
    folder = RunFolder(place)
    if not folder.is_run:
        inside = [path.name for path in sorted(place.iterdir()) if path.is_dir() and RunFolder(path).is_run]
        there = f"; it holds the runs {', '.join(inside)}" if inside else ""
        raise UsageError(
            f"{place} is neither a run nor an evaluation: it has no recipe.toml, stamp.json or results.json{there}. "
            f"Give a folder that a steersman command wrote, such as {place / inside[-1] if inside else 'runs/ppo'}"
        )
    summary = show_run(place)[0] if journal is None else look_at(place)
    samples, bad = _samples(folder.samples)
    findings, unread = _findings(folder.watch_path)
    problems = list(summary.problems)
    if bad:
        problems.append(f"{bad:,} rows of the kept samples cannot be read and are left out")
    if unread:
        problems.append(f"{unread:,} rows of watch.jsonl cannot be read and are left out")
    return ReadRun(
        name=place.resolve().name,
        folder=place,
        summary=summary,
        stamp=_or_empty(lambda: read_stamp(folder.stamp_path)),
        recipe=concealed(_or_empty(lambda: tomllib.loads(folder.recipe_path.read_text()))),
        journal=read_columns(folder.journal_path) if journal is None else journal,
        samples=samples,
        findings=findings,
        problems=problems,
        overoptimisation=overoptimisation_of(place),
    )


def _or_empty(read: Any) -> Mapping[str, Any]:
    """The content, or nothing if it is unreadable; the summary's problems already report that."""
    try:
        return read()
    except (DataError, OSError, ValueError, RecursionError):
        return {}


def _samples(folder: Path) -> tuple[list[SampleRow], int]:
    found: list[SampleRow] = []
    bad = 0
    for path in _chosen(sorted(folder.glob("iteration-*.jsonl")) if folder.is_dir() else []):
        step = path.stem.removeprefix("iteration-")
        for line in path.read_bytes().splitlines():
            row = _row(line)
            if row is None or not step.isdigit():
                bad += 1
            else:
                found.append(SampleRow(int(step), row))
    return found, bad


def _chosen(paths: Sequence[Path]) -> list[Path]:
    if len(paths) <= MOST_FILES:
        return list(paths)
    places = {round(i * (len(paths) - 1) / (MOST_FILES - 1)) for i in range(MOST_FILES)}
    return [paths[i] for i in sorted(places)]


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _findings(path: Path) -> tuple[list[FindingPart], int]:
    """The watch's findings, with place, text, the action taken and evidence; and the number of unreadable rows."""
    found: list[FindingPart] = []
    bad = 0
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        row = _row(line)
        if row is None or not isinstance(row.get("verdict"), str):
            bad += 1
            continue
        step, name, evidence = row.get("step"), row.get("detector"), row.get("evidence")
        where = ", ".join(str(part) for part in (name, None if step is None else f"iteration {step}") if part)
        done = DONE.get(str(row.get("action")), "")
        text = f"{row['verdict'].rstrip('.')}.{f' {done}' if done else ''}"
        lines = [_evidence(one) for one in evidence] if isinstance(evidence, list) else []
        found.append(FindingPart("bad", where or "watch", text, tuple(lines)))
    return found, bad


def _evidence(one: Any) -> str:
    if not isinstance(one, Mapping):
        return str(one)
    text = " → ".join(str(one[part]) for part in ("prompt", "answer") if one.get(part))
    names = (("score", "score"), ("held_out", "held-out score"))
    numbers = [f"{name} {one[key]:.2f}" for key, name in names if isinstance(one.get(key), int | float)]
    return f"{text} ({', '.join(numbers)})" if numbers else text

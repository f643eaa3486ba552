"""What people of the projects said of a run's answers against those of the model that it began as."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from steersman.records import Comparison
from steersman.reports.distance import PeoplePoint
from steersman.runs.checkpoints import CheckpointStore
from steersman.runs.columns import JournalColumns
from steersman.store.projects import Project
from steersman.store.reading import read_labels
from steersman.store.reading_cursor import cursor_of

Pairs = Mapping[tuple[str, str], tuple[float, int]]
"""By two models' names: how often the first won, a tie as half, and how often they were compared."""


class JudgedModels:
    """Results between models in projects, each counted once for a state of the project."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[int, Pairs]] = {}
        self._lock = threading.Lock()

    def of(self, found: Project) -> Pairs:
        cursor = cursor_of(found)
        with self._lock:
            kept = self._kept.get(found.id)
        if kept is not None and kept[0] == cursor.head:
            return kept[1]
        counted: dict[tuple[str, str], tuple[float, int]] = {}
        for label in read_labels(found, cursor):
            if label.item.gold is not None or label.item.content.kind != "pair":
                continue
            record = label.record
            if isinstance(record, Comparison) and record.first.model and record.second.model:
                result = 0.5 if record.preference == 0.5 else float(record.preference > 0.5)
                for one, other, won in (
                    (record.first.model, record.second.model, result),
                    (record.second.model, record.first.model, 1 - result),
                ):
                    before = counted.get((one, other), (0.0, 0))
                    counted[one, other] = (before[0] + won, before[1] + 1)
        with self._lock:
            self._kept[found.id] = (cursor.head, counted)
        return counted


def points_of(
    run: Path, start: str, journal: JournalColumns, results: Sequence[Pairs], folder: Path
) -> list[PeoplePoint]:
    """People's points for a run's policies: its final model, and its checkpoints. `start` is the model that it began
    as, as its recipe has it; relative names begin from `folder`."""
    found: dict[tuple[str, float], tuple[float, int]] = {}
    for pairs in results:
        for (model, other), (won, judged) in pairs.items():
            kl = _distance(run, model, journal, folder)
            if kl is None or not _same(other, start, folder):
                continue
            key = (Path(model).name if "step-" in model else run.name, kl)
            before = found.get(key, (0.0, 0))
            found[key] = (before[0] + won, before[1] + judged)
    return [PeoplePoint(name, kl, won, judged) for (name, kl), (won, judged) in sorted(found.items())]


def _distance(run: Path, model: str, journal: JournalColumns, folder: Path) -> float | None:
    """The KL of the run's model that has this name, from the journal; None if it is none of the run's."""
    path = (folder / model).absolute()
    if path not in (run, run / "model") and run / "checkpoints" not in path.parents:
        return None
    best = CheckpointStore(run / "checkpoints").best()
    step = journal.steps[-1] if len(journal) else 0
    if run / "checkpoints" in path.parents:
        digits = path.name.removeprefix("step-")
        step = int(digits) if digits.isdigit() else step
    elif best is not None:
        step = best.step
    measured = journal.values("held-out KL to reference") or journal.values("KL to reference")
    before = [value for at, value in measured if at <= step]
    return before[-1] if before else None


def _same(one: str, other: str, folder: Path) -> bool:
    if one == other:
        return True
    first, second = ((folder / name).absolute() for name in (one, other))
    return first == second or first == second / "model" or second == first / "model"

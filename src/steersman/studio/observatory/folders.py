"""Which runs and rounds there are under the studio's folders of runs. Each is named by an id, a hash of where it lies:
no part of an address is ever a path."""

import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from steersman.rounds.planned import FILE as PLAN
from steersman.runs.columns import JournalColumns
from steersman.runs.folder import RunFolder
from steersman.studio.problems import nothing_here

DEPTH, MOST = 5, 5000
"""How deep runs are looked for, and how many folders are looked at."""
LOOK_EVERY = 2.0
"""Seconds for which the list of runs is kept."""
KEPT = 12
"""Of so many runs the journal's columns are kept in memory."""
SKIPPED = {"checkpoints", "samples", "model", "critic", "tokens", "stages", "__pycache__"}


@dataclass(frozen=True, slots=True)
class FoundFolder:
    """A run, or the folder of a recipe of stages. `name` is its place below the folder of runs."""

    id: str
    path: Path
    name: str
    within: str
    """The id of the recipe's folder that a run is in; "" for none."""


@dataclass(slots=True)
class _Look:
    time: float = -LOOK_EVERY
    runs: dict[str, FoundFolder] = field(default_factory=dict[str, FoundFolder])
    graphs: dict[str, FoundFolder] = field(default_factory=dict[str, FoundFolder])


@dataclass(slots=True)
class _KeptJournal:
    columns: JournalColumns
    lock: threading.Lock = field(default_factory=threading.Lock)


class RunFolders:
    """The runs below some folders. Links are not followed."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(dict.fromkeys(root.expanduser().absolute() for root in roots))
        self._look = _Look()
        self._lock = threading.Lock()
        self._journals: OrderedDict[str, _KeptJournal] = OrderedDict()

    def runs(self) -> dict[str, FoundFolder]:
        """All runs by id."""
        return self._now().runs

    def graphs(self) -> dict[str, FoundFolder]:
        """The folders of recipes of stages, by id."""
        return self._now().graphs

    def run(self, name: str) -> FoundFolder:
        """The run with this id."""
        return _found(self.runs(), name)

    def graph(self, name: str) -> FoundFolder:
        return _found(self.graphs(), name)

    def run_at(self, path: Path) -> FoundFolder | None:
        """The run whose folder this is, or is in; None if it is none of ours."""
        runs, place = self.runs(), path.absolute()
        return next((runs[one] for folder in (place, *place.parents) if (one := id_of(folder)) in runs), None)

    @contextmanager
    def journal(self, run: FoundFolder) -> Iterator[JournalColumns]:
        """A run's journal, read up to now, for one request at a time."""
        with self._lock:
            kept = self._journals.pop(run.id, None) or _KeptJournal(JournalColumns(RunFolder(run.path).journal_path))
            self._journals[run.id] = kept
            while len(self._journals) > KEPT:
                self._journals.popitem(last=False)
        with kept.lock:
            kept.columns.update()
            yield kept.columns

    def _now(self) -> _Look:
        with self._lock:
            if time.monotonic() - self._look.time >= LOOK_EVERY:
                self._look = look_below(self.roots)
            return self._look


def id_of(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def look_below(roots: Sequence[Path]) -> _Look:
    found = _Look(time.monotonic())
    for root in roots:
        _add(found, root)
    return found


def _add(found: _Look, root: Path) -> None:
    within: dict[Path, str] = {}
    looked = 0
    for place, folders, files in os.walk(root):
        here, looked = Path(place), looked + 1
        depth = len(here.relative_to(root).parts)
        graph = within.get(here.parent, "")
        name = here.relative_to(root).as_posix() if here != root else root.name
        if PLAN in files and "stages" in folders:
            graph = id_of(here)
            found.graphs[graph] = FoundFolder(graph, here, name, "")
        if "recipe.toml" in files or "stamp.json" in files:
            found.runs[id_of(here)] = FoundFolder(id_of(here), here, name, graph)
        within[here] = graph
        folders[:] = [
            one
            for one in sorted(folders)
            if one not in SKIPPED and not one.startswith(".") and not (here / one).is_symlink()
        ]
        if depth >= DEPTH or looked >= MOST:
            folders.clear()


def _found(folders: dict[str, FoundFolder], name: str) -> FoundFolder:
    if name not in folders:
        raise nothing_here()
    return folders[name]

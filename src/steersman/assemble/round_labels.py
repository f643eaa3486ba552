"""The stage `label`: answers -> tasks for people, and, when they have given enough labels, a file of their labels.

Tasks are made once, however often the stage is started. In a project of the store a snapshot is frozen when there are
enough labels, and the file has what the snapshot has; later labels do not change it.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from steersman.data.load import ReadReport, load_records
from steersman.data.outputs import check_outputs
from steersman.data.write import RowWriter
from steersman.errors import DataError, Preempted
from steersman.judging.queue import Item, QueuePlan, gather, make_queue, prompt_key
from steersman.lineage.inputs import Input, content_named
from steersman.lineage.records import write_sidecar
from steersman.loading.sources import read_source
from steersman.printing import tell
from steersman.records import Answers, Comparison, Ranking, Record, to_dict
from steersman.runs.commands import command_line
from steersman.runs.signals import StopRequest
from steersman.settings.round_stages import LabelStageSettings
from steersman.store.content import Content
from steersman.store.database import open_store
from steersman.store.items import NewItem, add_items
from steersman.store.projects import Project, create_project, find_project, list_projects
from steersman.store.reading import count_labels
from steersman.store.snapshots import freeze, read_snapshot
from steersman.store.sources import StudioSource, parsed_source

JUDGED = (Comparison, Ranking)
SPARE = 1.25
"""Tasks made for each that is needed: people skip some."""


@dataclass(frozen=True)
class LabelResult:
    """`source` is where the labels came from: a snapshot of a project, or a label file."""

    out: str
    labels: int
    source: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@runtime_checkable
class _Place(Protocol):
    """Where people's labels come to."""

    @property
    def shown(self) -> str: ...
    def count(self) -> int: ...
    def freeze(self) -> tuple[str, Iterator[Record]]: ...


@dataclass(frozen=True)
class _OfProject:
    project: Project
    source: StudioSource

    @property
    def shown(self) -> str:
        return str(self.source)

    def count(self) -> int:
        return count_labels(self.project, self.source.round)

    def freeze(self) -> tuple[str, Iterator[Record]]:
        one = freeze(self.project, self.source.round)
        found = (record for record in read_snapshot(self.project, one) if isinstance(record, JUDGED))
        return str(replace(self.source, snapshot=one.number)), found


@dataclass(frozen=True)
class _OfFile:
    path: Path
    prompts: frozenset[str]

    @property
    def shown(self) -> str:
        return str(self.path)

    def count(self) -> int:
        return sum(1 for _ in self._records())

    def freeze(self) -> tuple[str, Iterator[Record]]:
        return str(self.path), self._records()

    def _records(self) -> Iterator[Record]:
        """The judgements of this round's answers: a label file may hold those of earlier rounds."""
        if self.path.is_file() and self.path.stat().st_size:
            for record in load_records(str(self.path), kind=JUDGED, report=ReadReport()):
                if isinstance(record, JUDGED) and prompt_key(record.prompt) in self.prompts:
                    yield record


def run_label(settings: LabelStageSettings, *, quiet: bool = False) -> LabelResult:
    """Make the tasks, wait for people, and write their labels. Raises `Preempted` if it was not to wait."""
    out = Path(settings.out).expanduser()
    check_outputs([out], reads=[settings.data.source], force=settings.force)
    report = ReadReport()
    entries = gather(read_source(settings.data, (Answers, *JUDGED), report))
    if not entries:
        raise DataError(report.nothing("answers to judge", "answers, as `steersman sample` writes them"))
    plan = QueuePlan("compare", "people", settings.seed, settings.pairs, settings.per_prompt)
    items = make_queue(entries, plan).items[: math.ceil(SPARE * settings.count / settings.people)]
    with ExitStack() as stack:
        if settings.file is not None:
            keys = frozenset(prompt_key(entry.prompt) for entry in entries)
            place: _Place = _OfFile(Path(settings.file.replace("{round}", settings.round)).expanduser(), keys)
        else:
            place = _project(stack, settings, items)
        _wait(place, settings, quiet=quiet)
        source, records = place.freeze()
        with RowWriter(out) as writer:
            for record in records:
                writer.write(to_dict(record))
        given = "project" if settings.file is None else "file"
        write_sidecar(out, "label", settings, Input(given, source, content_named(source) or ""))
    return LabelResult(settings.out, writer.rows, source)


def _project(stack: ExitStack, settings: LabelStageSettings, items: Sequence[Item]) -> _OfProject:
    """The project, with the round's tasks in it."""
    given = parsed_source(settings.project or "")
    source = StudioSource(given.project, None, settings.round or given.round, given.store)
    database = stack.enter_context(open_store(given.address, create=True))
    known = {facts.name for facts in list_projects(database)}
    project = (find_project if source.project in known else create_project)(database, source.project)
    tasks = (
        NewItem(Content("pair", item.prompt, item.completions), source.round, settings.people, float(number))
        for number, item in enumerate(items)
    )
    add_items(project, tasks)
    return _OfProject(project, source)


def _wait(place: _Place, settings: LabelStageSettings, *, quiet: bool) -> None:
    """Look at the labels until there are enough, or until the date."""
    told = -1
    with StopRequest() as stop:
        stop.begin()
        while (there := place.count()) < settings.count:
            said = f"{there:,} of {settings.count:,} labels are in {place.shown}"
            if settings.until is not None and time.time() >= _moment(settings.until):
                if there:
                    return
                raise DataError(f"{said}, and it is past {settings.until}; set another `until`, or take it out")
            if not settings.wait:
                raise Preempted(f"waiting for people: {said}; they label with: {command_of(settings)}")
            if there != told and not quiet:
                tell(f"steersman: waiting for people: {said}; they label with: {command_of(settings)}")
            told = there
            _sleep(settings.poll, stop)
            if stop.requested:
                raise Preempted(f"stopped while waiting for people: {said}")


def command_of(settings: LabelStageSettings) -> str:
    """The command with which somebody labels this round in a terminal."""
    given = parsed_source(settings.project) if settings.project else None
    place = (settings.file or "").replace("{round}", settings.round)
    if given is not None:
        place = str(StudioSource(given.project, None, settings.round or given.round, given.store))
    pairs = f"random:{settings.per_prompt}" if settings.pairs == "random" else settings.pairs
    return command_line(
        "label", settings.data.source, "--out", place, "--pairs", pairs, "--seed", settings.seed, "--annotator", "NAME"
    )


def _sleep(seconds: float, stop: StopRequest) -> None:
    end = time.monotonic() + seconds
    while not stop.requested and (left := end - time.monotonic()) > 0:
        time.sleep(min(0.1, left))


def _moment(until: str) -> float:
    return datetime.fromisoformat(until).timestamp()

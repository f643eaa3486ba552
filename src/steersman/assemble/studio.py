"""`steersman studio import`: records of any format, and label files of the terminal with their history."""

from collections.abc import Iterator
from pathlib import Path

from steersman.errors import DataError, UsageError
from steersman.judging.history import history_path, verified
from steersman.judging.reading import difference_in_words
from steersman.loading.sources import register_sources
from steersman.store.content import TASKS
from steersman.store.database import open_store
from steersman.store.history import HistoryEvent, import_history
from steersman.store.imports import ImportReport, Wishes, import_source
from steersman.store.projects import find_project

HELD = ("judged", "adopted")


def import_into(store: str | None, project: str, source: str, wishes: Wishes, format: str | None) -> ImportReport:
    """Import a source into a project. A label file whose history lies beside it is imported with all its history."""
    register_sources()
    if wishes.task and wishes.task not in TASKS:
        raise UsageError(f"--task is one of {', '.join(TASKS)}; seen {wishes.task!r}")
    if wishes.purpose not in ("", "gold", "practice"):
        raise UsageError(f"--purpose is gold or practice; seen {wishes.purpose!r}")
    path = Path(source).expanduser()
    with open_store(store) as database:
        found = find_project(database, project)
        past = ImportReport()
        if not wishes.purpose and history_path(path).is_file() and path.is_file():
            past.labels, past.repeated = import_history(found, _history(path), wishes)
        report = import_source(found, source, wishes, format=format)
    report.labels += past.labels
    # The label file repeats what its history says.
    report.repeated = max(0, report.repeated - past.labels)
    return report


def _history(path: Path) -> Iterator[HistoryEvent]:
    if differing := difference_in_words(path):
        raise DataError(differing)
    events, _ = verified(history_path(path).read_bytes(), path)
    for number, event in enumerate(events, 1):
        if event["event"] in HELD and "held" not in event:
            raise DataError(
                f"{history_path(path)}:{number}: a history of an earlier release keeps no records; open the label file "
                "with `steersman label` once, which adds them"
            )
        yield HistoryEvent(
            event["event"], str(event.get("annotator", "")), event.get("record") or "", event.get("held"), event
        )

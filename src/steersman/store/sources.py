"""`studio:PROJECT` as a source of data: `studio:helpful?snapshot=3&round=r1&labels=soft&choice=random&store=ADDRESS`.

Without a snapshot it is the project as it is now. A run freezes one first (`frozen_source`), and reads it from then on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from sqlalchemy import make_url

from steersman.errors import UsageError
from steersman.records import Record
from steersman.secrets import conceal
from steersman.store.database import open_store
from steersman.store.place import place_of, without_password
from steersman.store.projects import Project, find_project
from steersman.store.reading import read_records
from steersman.store.reading_cursor import Cursor, cursor_of
from steersman.store.snapshots import DataSnapshot, find_snapshot, freeze, read_snapshot, verify_snapshot

SCHEME = "studio"
_OPTIONS = ("snapshot", "round", "labels", "choice", "store")
# Addresses with a password, by the same address without it: what is written into recipes has none.
_WITH_PASSWORD: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class StudioSource:
    """What follows `studio:` in the name of a source."""

    project: str
    snapshot: int | None = None
    round: str = ""
    store: str = ""
    labels: str = ""
    choice: str = ""

    def __str__(self) -> str:
        options = {"snapshot": self.snapshot, "round": self.round, "labels": self.labels, "choice": self.choice}
        options["store"] = self.store
        said = "&".join(f"{name}={value}" for name, value in options.items() if value)
        return f"{SCHEME}:{self.project}{'?' if said else ''}{said}"

    @property
    def address(self) -> str | None:
        """The store's address, with its password if one was given."""
        return _WITH_PASSWORD.get(self.store, self.store) or None

    @contextmanager
    def opened(self) -> Iterator[Project]:
        with open_store(self.address) as database:
            yield find_project(database, self.project)


def parsed_source(rest: str) -> StudioSource:
    """What is meant by the text after `studio:`."""
    project, _, query = rest.partition("?")
    # The address of a store may itself have a query: it is everything after `store=`, which stands last.
    before, store_mark, store = query.partition("store=")
    if store_mark and before and not before.endswith("&"):
        before, store = query, ""
    if "%3A%2F%2F" in store.upper():
        store = dict(parse_qsl(f"store={store}"))["store"]
    options = dict(parse_qsl(before, keep_blank_values=True))
    unknown = sorted(options.keys() - set(_OPTIONS))
    if unknown:
        raise UsageError(
            f"'studio:{project}' has no option {unknown[0]!r}; expected {', '.join(_OPTIONS)} (store last)"
        )
    if not project:
        raise UsageError("a source in the studio names a project: studio:PROJECT")
    number = options.get("snapshot", "")
    if "snapshot" in options and (not number.isdecimal() or not 0 < int(number) < 10**9):
        raise UsageError(f"'studio:{project}': snapshot is a number from 1; seen {number[:40]!r}")
    return StudioSource(
        project,
        int(number) if number else None,
        options.get("round", ""),
        _without_password(store),
        options.get("labels", ""),
        options.get("choice", ""),
    )


def _without_password(store: str) -> str:
    if "://" not in store or place_of(store).path is not None:
        return store
    url = make_url(store)
    if url.password is None or url.password == "***":
        return store
    bare = without_password(url).render_as_string()
    _WITH_PASSWORD[bare] = store
    return bare


def open_studio(rest: str) -> Iterator[Record]:
    """The records of a source: what a named source's opener gives. A project that is not there is an error at once."""
    source = parsed_source(rest)
    with source.opened() as project:
        if source.snapshot is not None:
            find_snapshot(project, source.snapshot)
    return _records(source)


def _records(source: StudioSource) -> Iterator[Record]:
    with source.opened() as project:
        if source.snapshot is None:
            yield from read_records(project, _cursor(project, source))
        else:
            yield from read_snapshot(project, find_snapshot(project, source.snapshot))


def _cursor(found: Project, source: StudioSource) -> Cursor:
    return cursor_of(found, source.round, labels=source.labels, choice=source.choice)


def _frozen(found: Project, source: StudioSource) -> DataSnapshot:
    if source.snapshot is None:
        return freeze(found, source.round, labels=source.labels, choice=source.choice)
    return find_snapshot(found, source.snapshot)


def frozen_source(rest: str) -> str:
    """The source with the number of a snapshot: a new one, unless it names one already."""
    source = parsed_source(rest)
    with source.opened() as project:
        one = _frozen(project, source)
    return str(replace(source, snapshot=one.number))


def content_of_source(rest: str) -> str:
    """A hash of what the source holds: of a snapshot's records, or of a project's state."""
    source = parsed_source(rest)
    with source.opened() as project:
        if source.snapshot is not None:
            return verify_snapshot(project, find_snapshot(project, source.snapshot))
        cursor = _cursor(project, source)
    said = f"{source.project} {cursor.head} {cursor.last_item} {cursor.round}"
    return f"{said} {cursor.labels} {cursor.choice}".rstrip()


def source_going_on(rest: str, recorded: str) -> str | None:
    """The source of a run that goes on: the recorded snapshot, if it is of the source that is given now without one."""
    before, now = parsed_source(recorded), parsed_source(rest)
    same = _part(before) == _part(now)
    if not same or before.snapshot is None or now.snapshot is not None:
        return None
    return str(replace(now, snapshot=before.snapshot))


def _part(source: StudioSource) -> tuple[str, ...]:
    """What is read, whatever its state."""
    return source.project, source.round, source.labels, source.choice, conceal(source.store)

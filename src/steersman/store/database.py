"""An open store: connections, short transactions, and the database's refusals as messages.

SQLite: WAL, synchronous=FULL (a commit is on disk when it returns), foreign keys on, and writers take turns (BEGIN
IMMEDIATE, waiting up to WAIT seconds). PostgreSQL: writers of one project take turns by a lock on its row.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

from steersman.errors import MissingLibrary, UsageError
from steersman.store.place import StorePlace, place_of
from steersman.store.refusals import messages
from steersman.store.versions import create_tables, refuse_other_version

WAIT = 30.0
"""Seconds that a writer of an SQLite store waits for another one."""
# As many connections as a server of the studio has threads, so that none waits for another's.
_POOL: dict[str, Any] = {"pool_size": 10, "max_overflow": 30}
BATCH = 500
"""Rows that one statement reads or writes."""


class Database:
    """A store that is open. `read` and `write` are its transactions; leaving `write` without an error commits."""

    def __init__(self, place: StorePlace, engine: Engine) -> None:
        self.place, self._engine = place, engine
        # Threads of one process take turns here: SQLite lets writers wait by sleeping, in no order.
        self._turn = threading.RLock() if place.path is not None else nullcontext()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with messages(self.place), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with messages(self.place), self._turn, self._engine.connect() as found:
            connection = found.execution_options(steersman_writes=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(address: str | None = None, *, create: bool = False, any_version: bool = False) -> Database:
    """The store at an address (default: STEERSMAN_STORE, or the default file). With `create` it is made if it is
    missing. A store of another version is an error, unless `any_version`."""
    place = place_of(address)
    if place.path is not None and not place.path.exists():
        if not create:
            raise UsageError(
                f"there is no store at {place.shown}; `steersman studio create NAME` makes it. --store, or "
                "STEERSMAN_STORE, names another one"
            )
        place.path.parent.mkdir(parents=True, exist_ok=True)
    database = Database(place, engine_of(place))
    try:
        if not any_version:
            if create:
                with database.write() as connection:
                    create_tables(connection)
            with database.read() as connection:
                refuse_other_version(connection, place.shown)
    except BaseException:
        database.close()
        raise
    return database


def engine_of(place: StorePlace) -> Engine:
    try:
        if place.path is None:
            return create_engine(place.url, pool_pre_ping=True, **_POOL)
        engine = create_engine(place.url, connect_args={"timeout": WAIT}, **_POOL)
    except ImportError as error:
        raise MissingLibrary(
            f"a store in PostgreSQL needs {error.name}; install it: pip install 'steersman[postgres]'"
        ) from error
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _: Any) -> None:
    # SQLAlchemy begins the transactions; sqlite3 by itself begins them late, and not before every statement.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("steersman_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def files_of(path: Path) -> list[Path]:
    """The files that an SQLite store consists of while it is open."""
    return [path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")]

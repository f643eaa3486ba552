"""Backups: a whole store, of either database, as one SQLite file that is itself a store; and their way back.

A store in SQLite is copied by SQLite's own backup, one in PostgreSQL table by table in one transaction. Both see one
state while others go on writing.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Integer, Table, func, insert, select

from steersman.errors import DataError, UsageError
from steersman.store.database import BATCH, Database, engine_of, open_store
from steersman.store.place import place_of
from steersman.store.refusals import messages
from steersman.store.schema import TABLES, project


def back_up(database: Database, path: Path, *, force: bool = False) -> dict[str, int]:
    """Write a backup, which appears when it is whole. Returns how many rows each table has."""
    if path.exists() and not force:
        raise UsageError(f"{path} exists already; give another name, or --force to overwrite it")
    if database.place.path is not None and path.resolve() == database.place.path.resolve():
        raise UsageError(f"{path} is the store itself; give another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    aside.unlink(missing_ok=True)
    try:
        if database.place.path is not None:
            _copy_file(database.place.path, aside)
        else:
            with open_store(str(aside), create=True) as target:
                copy_tables(database, target)
            _in_one_file(aside)
        counts = _counts(aside)
        aside.replace(path)
    finally:
        for left in (aside, aside.with_name(aside.name + "-wal"), aside.with_name(aside.name + "-shm")):
            left.unlink(missing_ok=True)
    return counts


def restore(path: Path, address: str | None) -> dict[str, int]:
    """Copy a backup into a store that has no projects: a new file, or an empty database."""
    if not path.is_file():
        raise UsageError(f"there is no backup {path}")
    place = place_of(address)
    if place.path is not None and place.path.exists() and place.path.resolve() == path.resolve():
        raise UsageError(f"{path} is the store itself; give another --store")
    with open_store(str(path)) as source, open_store(address, create=True) as target:
        with target.read() as connection:
            there = connection.execute(select(func.count()).select_from(project)).scalar_one()
        if there:
            raise UsageError(
                f"{target.place.shown} has {there} projects; a backup is restored into an empty store only. Move "
                "that one away, or give another --store"
            )
        return copy_tables(source, target)


def copy_tables(source: Database, target: Database) -> dict[str, int]:
    """Copy all rows as they are, in one transaction on either side. Returns their numbers by table."""
    counts: dict[str, int] = {}
    with _steady(source) as reading, target.write() as writing:
        for table in TABLES:
            counts[table.name] = 0
            for rows in reading.execution_options(yield_per=BATCH).execute(select(table)).partitions():
                writing.execute(insert(table), [row._asdict() for row in rows])
                counts[table.name] += len(rows)
            _count_on(writing, table)
    return counts


@contextlib.contextmanager
def _steady(database: Database) -> Iterator[Connection]:
    """A transaction that sees one state of all tables. SQLite's always do."""
    if database.place.path is not None:
        with database.read() as connection:
            yield connection
        return
    engine = engine_of(database.place)
    try:
        with messages(database.place), engine.connect() as found:
            yield found.execution_options(isolation_level="REPEATABLE READ")
    finally:
        engine.dispose()


def _count_on(connection: Connection, table: Table) -> None:
    """Let PostgreSQL give new rows numbers after those that were copied. SQLite does so by itself."""
    key = table.c.get("id")
    if connection.dialect.name != "postgresql" or key is None or not isinstance(key.type, Integer):
        return
    last = connection.execute(select(func.max(key))).scalar_one()
    if last is not None:
        sequence = func.pg_get_serial_sequence(f'"{table.name}"', "id")
        connection.execute(select(func.setval(sequence, last)))


def _copy_file(source: Path, target: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(source, timeout=30)) as one,
        contextlib.closing(sqlite3.connect(target)) as two,
    ):
        one.backup(two)
    _in_one_file(target)


def _in_one_file(path: Path) -> None:
    """Leave the write-ahead mode, so that the backup is one file, and put it onto the disk."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE").close()
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _counts(path: Path) -> dict[str, int]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        broken: Any = connection.execute("PRAGMA integrity_check").fetchone()
        if broken != ("ok",):
            raise DataError(f"the backup is damaged: {broken}; check the disk and try again")
        return {
            table.name: connection.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()[0] for table in TABLES
        }

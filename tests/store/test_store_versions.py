"""The tables of a store: made, migrated, and refused where another release made them."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from postgres import new_database
from sqlalchemy import text

from steersman.errors import DataError, ServiceError, UsageError
from steersman.records import Comparison
from steersman.store.claims import claim_tasks
from steersman.store.database import engine_of, open_store
from steersman.store.events import verify_events
from steersman.store.labelling import Submission, submit_label
from steersman.store.place import default_path, place_of
from steersman.store.projects import create_project, find_project
from steersman.store.reading import read_labels, read_records
from steersman.store.reading_cursor import cursor_of
from steersman.store.schema import metadata
from steersman.store.snapshots import find_snapshot, verify_snapshot
from steersman.store.versions import migrate_tables, newest_version

HERE = Path(__file__).parent
FIRST = {"sqlite": HERE / "first_schema.sql", "postgresql": HERE / "first_schema_postgresql.sql"}
"""The tables of the first release with the same project in them: SQLite's own dump, and one of pg_dump --inserts."""


def test_the_migrations_make_the_tables_of_the_schema(database):
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def load_first(address: str) -> None:
    """Make a database as the first release left it."""
    place = place_of(address)
    kind = "sqlite" if place.path is not None else "postgresql"
    dump = FIRST[kind].read_text(encoding="utf-8")
    if place.path is not None:
        with closing(sqlite3.connect(place.path)) as connection:
            connection.executescript(dump)
        return
    engine = engine_of(place)
    with engine.begin() as connection:
        for statement in filter(str.strip, dump.split(";\n")):
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_a_store_of_the_first_release_is_migrated_with_all_it_holds(address):
    load_first(address)
    with pytest.raises(DataError, match=r"tables of version 0001.*`steersman studio migrate`"):
        open_store(address)
    with open_store(address, any_version=True) as database, database.write() as connection:
        assert migrate_tables(connection) == ("0001", newest_version())
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    with open_store(address) as database:
        project = find_project(database, "first")
        found = [one.record for one in read_labels(project, cursor_of(project))]
        records = [one for one in found if isinstance(one, Comparison)]
        assert len(records) == len(found) == 2
        assert [(one.prompt.messages[0].content, one.first.text, one.annotator) for one in records] == [
            (f"Question {n}?", f"Good answer {n}", "ann") for n in range(2)
        ]
        assert [(one.preference, one.both_bad, one.metadata) for one in records] == [
            (1.0, False, {"seconds": 3.5}),
            (0.5, True, {}),
        ]
        assert {(one.first.model, one.first.sampling["temperature"], one.second.model) for one in records} == {
            ("runs/sft", 0.7, "runs/ppo")
        }
        assert len(list(read_records(project, cursor_of(project)))) == 4
        assert verify_events(project) == 5
        assert verify_snapshot(project, find_snapshot(project, 1)).startswith("3aff54527565744b")
        # Work goes on in it.
        (task,) = claim_tasks(project, "ben")
        assert submit_label(project, Submission("ben", task.id, "new", {"preference": 0.0})).kind == "label"
        assert verify_events(project) == 6


def test_a_store_of_a_newer_release_is_refused_and_not_touched(database, address):
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for create in (False, True):
        with pytest.raises(DataError, match="version 9999, which this release does not know"):
            open_store(address, create=create)


def test_a_store_of_an_earlier_release_asks_for_a_migration(database, address, monkeypatch):
    import steersman.store.versions as versions

    here = newest_version()
    monkeypatch.setattr(versions, "newest_version", lambda: "9999")
    with pytest.raises(DataError, match=f"tables of version {here}, and this release works with 9999"):
        open_store(address)


def test_a_database_of_something_else_is_left_alone(database, address):
    with database.write() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    with pytest.raises(DataError, match="of something else; give the store a database of its own"):
        open_store(address, create=True)
    with pytest.raises(DataError, match="a database without a store"):
        open_store(address)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("mysql://u@h/d", "a store cannot be in 'mysql'"),
        ("sqlite://", "name a file"),
        ("postgresql://u@h", "names no database"),
        ("postgresql://u@h:port/x", "cannot be read as a URL"),
        (".", "is a folder; name a file in it"),
        ("postgresql://***@h/d", "were hidden when it was written down"),
    ],
)
def test_an_address_that_is_none_is_refused(address, message):
    with pytest.raises(UsageError, match=message):
        place_of(address)


def test_the_address_is_the_given_one_or_the_variables_or_the_default(tmp_path, monkeypatch):
    monkeypatch.delenv("STEERSMAN_STORE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert place_of(None).path == default_path() == tmp_path / "steersman" / "studio.db"
    monkeypatch.setenv("STEERSMAN_STORE", "team.db")
    assert place_of(None).shown == "team.db"
    assert place_of("mine.db").shown == "mine.db"
    monkeypatch.setenv("PGPASSWORD", "from-outside")
    found = place_of("postgres://ann@h/d")
    assert (found.url.drivername, found.url.password) == ("postgresql+pg8000", "from-outside")
    assert "from-outside" not in found.shown


def test_what_is_no_store_is_refused_with_a_reason(tmp_path):
    other = tmp_path / "notes.db"
    other.write_text("no database, only a long enough text " * 40)
    with pytest.raises(DataError, match="this is no database, or it is damaged"):
        open_store(str(other))
    with pytest.raises(UsageError, match="there is no store at"):
        open_store(str(tmp_path / "none.db"))
    with pytest.raises(ServiceError, match="the server cannot be reached"):
        open_store("postgresql://nobody@127.0.0.1:9/none")


def test_a_locked_store_says_so_and_saves_nothing(tmp_path, monkeypatch):
    import steersman.store.database as module

    monkeypatch.setattr(module, "WAIT", 0.05)
    path = tmp_path / "studio.db"
    with open_store(str(path), create=True) as database, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ServiceError, match="another process writes for too long, and nothing of this was saved"):
            create_project(database, "helpful")
        other.rollback()
        create_project(database, "helpful")


def test_a_full_disk_says_so_and_saves_nothing(tmp_path):
    with open_store(str(tmp_path / "studio.db"), create=True) as database:
        create_project(database, "helpful")
        with database.read() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        with pytest.raises(ServiceError, match="the disk is full, and nothing of this was saved"):
            create_project(database, "large", guidelines="long " * 200_000)
        with database.read() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=1000000")
        create_project(database, "after")


def test_a_server_without_the_database_or_the_password_says_so(postgres_server):
    with pytest.raises(UsageError, match="the server has no such database"):
        open_store(postgres_server.rpartition("/")[0] + "/nowhere")
    with pytest.raises(UsageError, match="does not know this user"):
        open_store(postgres_server.replace("postgres@", "stranger@"))
    empty = new_database(postgres_server, "empty_one")
    with pytest.raises(DataError, match="a database without a store"):
        open_store(empty)

"""The version of a store's tables, as Alembic keeps it, and the migration to the newest one.

The migrations run from the installed package, without a configuration file. docs/decisions/0060-events-are-appended.md
says how one is added.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect

from steersman.errors import DataError
from steersman.store.schema import TABLES, metadata

_SCRIPTS = Path(__file__).parent / "migrations"


def newest_version() -> str:
    head = _scripts().get_current_head()
    assert head is not None
    return head


def version_of_tables(connection: Connection) -> str | None:
    """The version of the tables in this database; None if there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def create_tables(connection: Connection) -> None:
    """Make the tables in an empty database. Nothing changes where there are tables of any version."""
    if version_of_tables(connection) is not None:
        return
    there = set(inspect(connection).get_table_names()) & {table.name for table in TABLES}
    if there:
        raise DataError(
            f"the database has a table {min(there)!r} of something else; give the store a database of its own"
        )
    migrate_tables(connection)


def migrate_tables(connection: Connection, shown: str = "the store") -> tuple[str | None, str]:
    """Bring the tables to the newest version. Returns the version before and after."""
    scripts, before = _scripts(), version_of_tables(connection)
    _refuse_newer(scripts, before, shown)

    def upgrade(revision: Any, _: Any) -> Any:
        return scripts._upgrade_revs("head", revision)

    _run(connection, scripts, upgrade)
    return before, newest_version()


def refuse_other_version(connection: Connection, shown: str) -> None:
    """Raise unless the tables have this release's version."""
    found = version_of_tables(connection)
    if found == newest_version():
        return
    if found is None:
        raise DataError(f"{shown} is a database without a store; `steersman studio create NAME` makes one in it")
    _refuse_newer(_scripts(), found, shown)
    raise DataError(
        f"the store {shown} has tables of version {found}, and this release works with {newest_version()}; back it up, "
        "then run `steersman studio migrate`"
    )


def _refuse_newer(scripts: ScriptDirectory, version: str | None, shown: str) -> None:
    try:
        if version is not None:
            scripts.get_revision(version)
    except CommandError as error:
        raise DataError(
            f"{shown} has tables of version {version}, which this release does not know: a newer one has made them. "
            "Update Steersman (pip install -U steersman)"
        ) from error


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def _run(connection: Connection, scripts: ScriptDirectory, upgrade: Callable[[Any, Any], Any]) -> None:
    with EnvironmentContext(Config(), scripts, fn=upgrade) as environment:
        # The caller's transaction holds all steps: a migration that fails changes nothing.
        environment.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
        environment.run_migrations()

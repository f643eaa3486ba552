"""Where a store is: a file (SQLite) or the URL of a PostgreSQL database. Passwords are never in what is shown."""

import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from steersman.errors import UsageError

VARIABLE = "STEERSMAN_STORE"


@dataclass(frozen=True, slots=True)
class StorePlace:
    """A store's address. `path` is the file of an SQLite store."""

    url: URL
    path: Path | None

    @property
    def shown(self) -> str:
        """The address without its password."""
        return str(self.path) if self.path is not None else without_password(self.url).render_as_string()


def default_path() -> Path:
    """The file of the default store: studio.db in the user's data folder (XDG_DATA_HOME, or ~/.local/share)."""
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "steersman" / "studio.db"


def place_of(address: str | None) -> StorePlace:
    """The place that is meant: the given address, else STEERSMAN_STORE, else the default file."""
    text = address or os.environ.get(VARIABLE) or str(default_path())
    if "://" not in text:
        return _file(Path(text).expanduser())
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise UsageError(f"the address of the store cannot be read as a URL; expected {_EXPECTED}") from error
    if url.username == "***":
        raise UsageError(
            f"the user and the password of {url.render_as_string()} were hidden when it was written down; set "
            f"{VARIABLE} to the whole address, and leave store= out"
        )
    name = url.drivername
    if name in ("sqlite", "sqlite+pysqlite"):
        if not url.database or url.database == ":memory:":
            raise UsageError(f"the store must outlive this command: name a file; expected {_EXPECTED}")
        return _file(Path(url.database).expanduser())
    if name in ("postgres", "postgresql"):
        name = "postgresql+pg8000"
    if name not in ("postgresql+pg8000", "postgresql+psycopg"):
        raise UsageError(f"a store cannot be in {name.partition('+')[0]!r}; expected {_EXPECTED}")
    if not url.database:
        raise UsageError(f"the address {url.render_as_string()} names no database; expected {_EXPECTED}")
    if url.password is None and os.environ.get("PGPASSWORD"):
        url = url.set(password=os.environ["PGPASSWORD"])
    return StorePlace(url.set(drivername=name), None)


def without_password(url: URL) -> URL:
    # `set` takes None for "as it is".
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database, url.query)


def _file(path: Path) -> StorePlace:
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it, such as {path / 'studio.db'}")
    return StorePlace(URL.create("sqlite", database=str(path.absolute())), path)


_EXPECTED = "a file such as studio.db, or postgresql://user@host/database"

"""What a database refuses, as messages that say what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from steersman.errors import DataError, ServiceError, SteersmanError, UsageError
from steersman.store.place import StorePlace

_UNSAVED = "nothing of this was saved"
_REFUSALS: tuple[tuple[type[SteersmanError], dict[str, str]], ...] = (
    (
        ServiceError,
        {
            r"database is locked|lock timeout": f"another process writes for too long, and {_UNSAVED}; try again",
            r"readonly database|read-only": "it can only be read; change the permissions of the file and its folder",
            r"disk is full|No space left": f"the disk is full, and {_UNSAVED}; free some space and try again",
            r"disk I/O error": f"the disk failed or is full, and {_UNSAVED}; check it and try again",
        },
    ),
    (
        DataError,
        {
            r"not a database|malformed|encrypted": "this is no database, or it is damaged; restore a backup",
            r"invalid byte sequence|0x00": "a text holds a NUL character, which PostgreSQL cannot keep; take it out",
            r"no such table|relation .* does not exist|permission denied for": (
                "the tables of a store are missing, or you may not read them"
            ),
        },
    ),
    (
        UsageError,
        {
            r"unable to open database file": "the file cannot be opened or made; check the path and its permissions",
            r"authentication|no password": (
                "the server refuses user or password; give postgresql://user:password@…, or set PGPASSWORD"
            ),
            r"database .* does not exist": "the server has no such database; make it (createdb) and try again",
            r"role .* does not exist": "the server does not know this user",
        },
    ),
    (
        ServiceError,
        {
            r"create a connection|[Cc]onnection|could not translate|Name or service|network error|timed out|closed": (
                "the server cannot be reached; check the address and whether it runs"
            )
        },
    ),
)


@contextmanager
def messages(place: StorePlace) -> Iterator[None]:
    """Within it, what the database refuses is raised as an error of Steersman's that says what to do."""
    try:
        yield
    except SQLAlchemyError as error:
        found = as_refusal(error, place)
        if found is None:
            raise
        raise found from error


def as_refusal(error: SQLAlchemyError, place: StorePlace) -> SteersmanError | None:
    """The error to show for what a database refused; None if it is no refusal but a fault of the program."""
    if not isinstance(error, DBAPIError):
        return None
    text = str(error.orig)
    for kind, refusals in _REFUSALS:
        for pattern, words in refusals.items():
            if re.search(pattern, text):
                return kind(f"the store {place.shown}: {words} ({_short(text)})")
    return None


def _short(text: str) -> str:
    said = re.search(r"'M': '([^']*)'", text)  # a PostgreSQL error, as pg8000 shows it
    return (said[1] if said else text.partition("\n")[0])[:160]

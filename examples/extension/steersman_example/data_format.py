"""A data format: rows {"interviewer": "…", "guest": "…"} are demonstrations."""

from steersman.data.formats.format import Format, Outcome, Row
from steersman.errors import DataError
from steersman.records import Completion, Demonstration, Message, Prompt


def recognises(row: Row) -> bool:
    return "interviewer" in row and "guest" in row


def read(row: Row) -> list[Outcome]:
    for field in ("interviewer", "guest"):
        if not isinstance(row[field], str) or not row[field].strip():
            raise DataError(f"{field!r} should be a text: seen {row[field]!r}")
    return [Demonstration(Prompt((Message("user", row["interviewer"]),)), Completion(row["guest"]))]


INTERVIEW = Format("interview", "interviews", ("interviewer", "guest"), recognises, read)

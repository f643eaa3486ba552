"""What a format is: a name, how its rows are recognised, and how rows become records and (for some) records rows.

`read` raises a DataError that says in a few words what is wrong with the row; the loader adds file and line.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from steersman.records import Malformed, Record

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something well formed that is no feedback: a skipped task, a discarded answer, a deleted message."""

    reason: str


Outcome = Record | LeftOut
PlacedRows = Iterable[tuple[int, Row]]
PlacedOutcomes = Iterator[tuple[int, Outcome | Malformed]]


@dataclass(frozen=True, slots=True)
class Format:
    """One way of writing rows. `fields` is what it is known by, for messages to people.

    `gather` stands in for `read` where one record needs several rows (a tree of messages, one message a row).
    `writes` names the kinds of record that `write` can hold.
    """

    name: str
    title: str
    fields: tuple[str, ...]
    recognises: Callable[[Row], bool]
    read: Callable[[Row], list[Outcome]]
    write: Callable[[Any], dict[str, Any]] | None = None
    writes: tuple[type, ...] = ()
    gather: Callable[[str, PlacedRows], PlacedOutcomes] | None = None

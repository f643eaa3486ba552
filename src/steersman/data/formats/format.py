"""The type of a data format: its name, how its rows are recognised, read and (for some formats) written.

`read` raises a DataError that says briefly what is wrong with the row; the loader adds file and line.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from steersman.records import Malformed, Record

Row = Mapping[str, Any]

UNFORESEEN = (TypeError, ValueError, AttributeError, KeyError, IndexError, ArithmeticError, RecursionError)
"""What a reader raises where a field has a type or a size that it does not expect. The row is malformed then."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A well-formed row that is not feedback: a skipped task, a discarded answer, a deleted message."""

    reason: str


Outcome = Record | LeftOut
PlacedRows = Iterable[tuple[int, Row]]
PlacedOutcomes = Iterator[tuple[int, Outcome | Malformed]]


@dataclass(frozen=True, slots=True)
class Format:
    """A data format. `fields` are its characteristic fields, for error messages.

    `gather` replaces `read` if a record needs several rows (a message tree with one message per row).
    `writes` are the kinds of records that `write` accepts.
    """

    name: str
    title: str
    fields: tuple[str, ...]
    recognises: Callable[[Row], bool]
    read: Callable[[Row], list[Outcome]]
    write: Callable[[Any], dict[str, Any]] | None = None
    writes: tuple[type, ...] = ()
    gather: Callable[[str, PlacedRows], PlacedOutcomes] | None = None

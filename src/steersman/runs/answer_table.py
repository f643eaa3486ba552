"""The run's answers as a table for trackers: one row for each answer, a column for each plain value."""

from collections.abc import Mapping, Sequence
from typing import Any

_Cell = str | int | float | bool | None


def answer_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[_Cell]]]:
    """Columns and cells. The parts of a score have a column each; quantities of single tokens have none."""
    plain = [_plain(row) for row in rows]
    columns = list(dict.fromkeys(name for row in plain for name in row))
    return columns, [[row.get(name) for name in columns] for row in plain]


def _plain(row: Mapping[str, Any]) -> dict[str, _Cell]:
    cells: dict[str, _Cell] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            cells |= {f"{name}: {part}": number for part, number in value.items() if isinstance(number, _Cell)}
        elif isinstance(value, _Cell):
            cells[name] = value
    return cells

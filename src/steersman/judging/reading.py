"""A label file as a reader sees it: in what it differs from the history beside it. Nothing is repaired here."""

import json
from pathlib import Path

from steersman.errors import DataError
from steersman.judging.history import history_path, verified, what_stands
from steersman.judging.reconciliation import compare
from steersman.judging.verdicts import Judgement
from steersman.records import Comparison, Demonstration, Ranking, from_dict


def difference_in_words(path: Path) -> str:
    """How a label file differs from its history, and what to do; "" if it does not, or has no history."""
    if not (path.is_file() and history_path(path).is_file()):
        return ""
    history = history_path(path).read_bytes()
    if not history.startswith(b'{"event": '):
        return ""  # of something else
    try:
        events, _ = verified(history, path)
    except DataError as error:
        return str(error)
    found = compare(path.read_bytes().split(b"\n"), what_stands(events), _read)
    differing = {
        "missing": len(found.missing) + len(found.lost),
        "altered": len(found.altered),
        "there twice": len(found.doubled),
        "undone but still there": len(found.undone),
    }
    said = ", ".join(f"{count} {what}" for what, count in differing.items() if count)
    if not said:
        return ""
    return (
        f"{path} differs from the history of its judgements: {said}. The file is used as it is; `steersman label` with "
        f"the same answers and --out {path.name} --summary repairs it"
    )


def _read(line: bytes, number: int) -> Judgement | str:
    try:
        record = from_dict(json.loads(line))
    except (ValueError, RecursionError):
        return f"line {number} cannot be read"
    return record if isinstance(record, Comparison | Ranking | Demonstration) else f"line {number} is no judgement"

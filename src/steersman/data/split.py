"""Splitting records so that no prompt is in two splits: by a hash of the prompt.

This needs no seed, no memory and no second pass, and a row keeps its split when others are added.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.data.kinds import hash64, normalised, opening_words, question_words
from steersman.data.outputs import check_outputs
from steersman.data.write import RowWriter
from steersman.errors import UsageError
from steersman.records import Record, to_dict

DEFAULT_SHARES = {"train": 0.9, "validation": 0.05, "test": 0.05}


@dataclass
class SplitReport:
    files: dict[str, str] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {"files": self.files, "records": self.records}


def read_shares(words: str) -> dict[str, float]:
    """Shares by split name, from "0.9,0.1" or "train=0.9,test=0.1"."""
    pieces = [piece.strip() for piece in words.split(",") if piece.strip()]
    names = {1: ["train"], 2: ["train", "test"], 3: ["train", "validation", "test"]}.get(len(pieces), [])
    try:
        if all("=" in piece for piece in pieces):
            return checked_shares({name.strip(): float(share) for name, share in (p.split("=", 1) for p in pieces)})
        return checked_shares({name: float(share) for name, share in zip(names, pieces, strict=True)})
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"cannot read the shares {words!r}; expected 0.9,0.05,0.05 or train=0.9,test=0.1") from error


def checked_shares(shares: dict[str, float]) -> dict[str, float]:
    if not shares or any(not 0 < share <= 1 for share in shares.values()):
        raise UsageError(f"the shares of a split must be between 0 and 1; seen {shares}")
    bad = next((name for name in shares if not name.replace("-", "").replace("_", "").isalnum()), None)
    if bad is not None:
        raise UsageError(f"the name of a split becomes a file name: expected letters, digits, - and _; seen {bad!r}")
    total = sum(shares.values())
    if abs(total - 1) > 1e-6:
        raise UsageError(
            f"the shares of a split must add up to 1; {' + '.join(map(str, shares.values()))} is {total:g}"
        )
    return shares


def split_of(record: Record, shares: dict[str, float], *, by: str = "prompt") -> str:
    """The split of a record. `by="opening"` puts all conversations with the same first user message into one split."""
    if by not in ("prompt", "opening"):
        raise UsageError(f"expected to split by 'prompt' or 'opening'; seen {by!r}")
    text = normalised(question_words(record) if by == "prompt" else opening_words(record))
    position, edge = hash64("split\x1d" + text) / 2**64, 0.0
    for name, share in shares.items():
        edge += share
        if position < edge:
            return name
    return list(shares)[-1]


def split_paths(folder: Path, shares: dict[str, float], ending: str) -> dict[str, Path]:
    """The file of each split."""
    return {name: folder / f"{name}{ending}" for name in checked_shares(shares)}


def split_records(
    records: Iterable[Record],
    folder: Path,
    *,
    shares: dict[str, float] = DEFAULT_SHARES,
    by: str = "prompt",
    ending: str = ".jsonl",
    force: bool = False,
) -> SplitReport:
    """Write one file per split, in the native format. Records keep their order.

    Files that are there already are overwritten only with `force`.
    """
    report = SplitReport()
    files = split_paths(folder, shares, ending)
    check_outputs(list(files.values()), force=force)
    with ExitStack() as stack:
        writers = {name: stack.enter_context(RowWriter(path)) for name, path in files.items()}
        for record in records:
            writers[split_of(record, shares, by=by)].write(to_dict(record))
    for name, writer in writers.items():
        report.files[name], report.records[name] = str(writer.path), writer.rows
    return report

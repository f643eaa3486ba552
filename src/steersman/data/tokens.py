"""Token store: tokenised rows on disk (ids, loss mask, offsets) as memory maps, so that a million rows need little RAM.

A store is built once in a temporary folder and renamed. Its folder is named by a hash of its inputs (the source's
content, the tokeniser, the settings), so a changed source or template never uses old tokens.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steersman.batches import TokenRow
from steersman.errors import DataError
from steersman.records import KIND_OF, Demonstration, Document, Record
from steersman.text.template import Encoded, LossOn, Truncate, encode_demonstration, encode_document
from steersman.text.tokeniser import Tokeniser

_VERSION = 1
_FILES = {"ids": np.int32, "loss": np.uint8, "offsets": np.int64}


@dataclass
class TokenReport:
    """Counts of a token store: rows kept, rows truncated, and records dropped, by reason."""

    rows: int = 0
    tokens: int = 0
    targets: int = 0
    truncated: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "dropped": dict(self.dropped)}


def tokeniser_hash(tokeniser: Tokeniser) -> str:
    """A hash of everything in a tokeniser that affects ids: its pipeline, chat template and special tokens."""
    pipeline = json.loads(tokeniser.backend_tokenizer.to_str())
    # Every tokeniser call sets these two, so they do not affect the stored ids.
    pipeline.pop("truncation", None)
    pipeline.pop("padding", None)
    known = [pipeline, tokeniser.chat_template, {k: str(v) for k, v in tokeniser.special_tokens_map.items()}]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def store_key(source_hash: str, tokeniser: Tokeniser, settings: Mapping[str, Any]) -> str:
    """The folder name of the store for this source, tokeniser and settings."""
    whole = [_VERSION, source_hash, tokeniser_hash(tokeniser), dict(settings)]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:24]


class TokenStore:
    """Random access to tokenised rows. Only the requested rows are in memory."""

    def __init__(self, folder: Path) -> None:
        try:
            self.about: dict[str, Any] = json.loads((folder / "store.json").read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: no readable token store: {error}; build it again") from error
        self.folder = folder
        self.offsets: NDArray[np.int64] = _map(folder, "offsets", self.about["rows"] + 1)
        self._ids = _map(folder, "ids", self.about["tokens"])
        self._loss = _map(folder, "loss", self.about["tokens"])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def row(self, index: int) -> TokenRow:
        if not -len(self) <= index < len(self):
            raise DataError(f"row {index} does not exist: the store has {len(self)} rows")
        start, end = self.offsets[index % len(self)], self.offsets[index % len(self) + 1]
        ids = torch.from_numpy(self._ids[start:end].astype(np.int64))
        return TokenRow(ids, torch.from_numpy(self._loss[start:end].astype(np.bool_)))


def _map(folder: Path, name: str, count: int) -> NDArray[Any]:
    path, kind = folder / f"{name}.bin", np.dtype(_FILES[name])
    size = path.stat().st_size if path.exists() else -1
    if size != count * kind.itemsize:
        raise DataError(
            f"{path}: {size} bytes where {count * kind.itemsize} are expected; delete {folder} and build it again"
        )
    return np.memmap(path, dtype=kind, mode="r", shape=(count,))


class NoRowsError(DataError):
    """No row could be made of the records: there were none, or all were left out."""


class TokenWriter:
    """Writes rows to a temporary folder. It becomes the store when the `with` block ends without an error."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.aside = folder, folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        self.report = TokenReport()

    def __enter__(self) -> "TokenWriter":
        shutil.rmtree(self.aside, ignore_errors=True)
        self.aside.mkdir(parents=True)
        self._files = {name: (self.aside / f"{name}.bin").open("wb") for name in _FILES}
        self._files["offsets"].write(np.zeros(1, np.int64).tobytes())
        return self

    def add(self, encoded: Encoded) -> None:
        self.report.rows += 1
        self.report.tokens += len(encoded.ids)
        self.report.targets += encoded.targets
        self.report.truncated += encoded.truncated
        for name, values in (("ids", encoded.ids), ("loss", encoded.loss), ("offsets", [self.report.tokens])):
            self._files[name].write(np.asarray(values, _FILES[name]).tobytes())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        try:
            if kind is None and self.report.rows:
                (self.aside / "store.json").write_text(json.dumps({"version": _VERSION, **self.report.as_dict()}))
                self.aside.rename(self.folder)
        except OSError:
            # Another process built the same store in the meantime. The same name means the same rows.
            if not (self.folder / "store.json").exists():
                raise
        finally:
            shutil.rmtree(self.aside, ignore_errors=True)
        if kind is None and not self.report.rows:
            reasons = "; ".join(f"{count} × {reason}" for reason, count in self.report.dropped.items()) or "no records"
            raise NoRowsError(f"no rows are left to train on: {reasons}")


def build_token_store(
    records: Iterable[Record],
    tokeniser: Tokeniser,
    folder: Path,
    *,
    max_length: int,
    loss_on: LossOn = "answer",
    truncate: Truncate = "right",
) -> TokenReport:
    """Build the store from demonstrations and documents. Rows without targets and records of other kinds are dropped
    and counted by reason."""
    if max_length < 2:
        raise DataError(f"max_length={max_length} leaves no token to train on; expected 2 or more")
    with TokenWriter(folder) as writer:
        for record in records:
            if isinstance(record, Demonstration):
                row = encode_demonstration(tokeniser, record, max_length=max_length, loss_on=loss_on, truncate=truncate)
            elif isinstance(record, Document):
                row = encode_document(tokeniser, record, max_length=max_length)
            else:
                writer.report.dropped[f"a {KIND_OF[type(record)]}, which has no single answer to train on"] += 1
                continue
            if row.targets:
                writer.add(row)
            else:
                reason = "the prompt fills the row: no answer tokens are left" if row.truncated else "no targets"
                writer.report.dropped[reason] += 1
    return writer.report


def open_or_build(cache: Path, key: str, build: Callable[[Path], TokenReport]) -> tuple[TokenStore, TokenReport]:
    """The store with this key from the cache; built by `build(folder)` if it does not exist."""
    folder = cache / key
    if not (folder / "store.json").exists():
        cache.mkdir(parents=True, exist_ok=True)
        build(folder)
    store = TokenStore(folder)
    about = {name: store.about[name] for name in ("rows", "tokens", "targets", "truncated")}
    return store, TokenReport(**about, dropped=Counter(store.about["dropped"]))

"""Rows of tokens on disk: flat ids, a loss mask and offsets as memory maps, so that a million rows need little memory.

A store is built once, aside, and renamed into place; its folder is named by a hash of all that it was made from (the
source's content, the tokeniser, the settings), so that a changed source or template can never meet old tokens.
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
    """What became of the records: rows kept, rows that were cut, and records that gave no row, with the reason."""

    rows: int = 0
    tokens: int = 0
    targets: int = 0
    truncated: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "dropped": dict(self.dropped)}


def tokeniser_hash(tokeniser: Tokeniser) -> str:
    """A name for everything about a tokeniser that decides ids: its pipeline, its template, its special tokens."""
    pipeline = json.loads(tokeniser.backend_tokenizer.to_str())
    # These two are set anew by every call and change nothing here.
    pipeline.pop("truncation", None)
    pipeline.pop("padding", None)
    known = [pipeline, tokeniser.chat_template, {k: str(v) for k, v in tokeniser.special_tokens_map.items()}]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def store_key(source_hash: str, tokeniser: Tokeniser, settings: Mapping[str, Any]) -> str:
    """The name of the store made from this source with this tokeniser and these settings."""
    whole = [_VERSION, source_hash, tokeniser_hash(tokeniser), dict(settings)]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:24]


class TokenStore:
    """Random access to rows of tokens; nothing is in memory but what is asked for."""

    def __init__(self, folder: Path) -> None:
        try:
            self.about: dict[str, Any] = json.loads((folder / "store.json").read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: no store of tokens there: {error}; build it again") from error
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
            raise DataError(f"row {index} of a store of {len(self)} rows")
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


class TokenWriter:
    """Writes rows one after another, aside; the store appears whole when the `with` ends well."""

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
            # Another process built the same store in the meantime; by its name it holds the same rows.
            if not (self.folder / "store.json").exists():
                raise
        finally:
            shutil.rmtree(self.aside, ignore_errors=True)
        if kind is None and not self.report.rows:
            reasons = "; ".join(f"{count} × {reason}" for reason, count in self.report.dropped.items()) or "no records"
            raise DataError(f"no rows are left to learn from: {reasons}")


def build_token_store(
    records: Iterable[Record],
    tokeniser: Tokeniser,
    folder: Path,
    *,
    max_length: int,
    loss_on: LossOn = "answer",
    truncate: Truncate = "right",
) -> TokenReport:
    """Demonstrations and documents as rows to learn from. A row without targets teaches nothing and is dropped, with its
    reason; what is no demonstration and no document too."""
    if max_length < 2:
        raise DataError(f"a row of at most {max_length} tokens has nothing to learn; expected 2 or more")
    with TokenWriter(folder) as writer:
        for record in records:
            if isinstance(record, Demonstration):
                row = encode_demonstration(tokeniser, record, max_length=max_length, loss_on=loss_on, truncate=truncate)
            elif isinstance(record, Document):
                row = encode_document(tokeniser, record, max_length=max_length)
            else:
                writer.report.dropped[f"a {KIND_OF[type(record)]}, which has no single answer to learn"] += 1
                continue
            if row.targets:
                writer.add(row)
            else:
                too_long = (
                    "the prompt fills the row: nothing of the answer is left" if row.truncated else "nothing to learn"
                )
                writer.report.dropped[too_long] += 1
    return writer.report


def open_or_build(cache: Path, key: str, build: Callable[[Path], TokenReport]) -> tuple[TokenStore, TokenReport]:
    """The store of this key from the cache, or freshly built by `build(folder)`."""
    folder = cache / key
    if not (folder / "store.json").exists():
        cache.mkdir(parents=True, exist_ok=True)
        build(folder)
    store = TokenStore(folder)
    about = {name: store.about[name] for name in ("rows", "tokens", "targets", "truncated")}
    return store, TokenReport(**about, dropped=Counter(store.about["dropped"]))

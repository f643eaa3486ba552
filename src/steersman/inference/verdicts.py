"""The file of a judge's verdicts: one row for each record, in their order, on disk before the next batch is judged."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from steersman.errors import DataError
from steersman.judges.judge import JudgeVerdict, PrincipleVerdict
from steersman.judges.pairing import ChosenPair, answers_in
from steersman.records import Record, digest_of

NAME = "verdicts.jsonl"
Judged = list[tuple[ChosenPair, JudgeVerdict]]


class VerdictFile:
    """The verdicts of a run. `earlier` are those that are there; a row that was cut off is removed and judged again."""

    def __init__(self, folder: Path, records: Sequence[Record]) -> None:
        self._path, self._records = folder / NAME, records
        self._file: IO[bytes] | None = None
        self.earlier: list[Judged] = []
        self.done = 0

    def __enter__(self) -> "VerdictFile":
        self._file = self._path.open("a+b")
        self._file.seek(0)
        text = self._file.read()
        whole = text.rfind(b"\n") + 1
        for number, line in enumerate(text[:whole].splitlines(), 1):
            self.earlier.append(self._read(line, number))
        self._file.truncate(whole)
        self.done = len(self.earlier)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, judged: Sequence[Judged]) -> None:
        """The rows of the next records."""
        assert self._file is not None
        lines: list[str] = []
        for pairs in judged:
            row = {"record": self._name(self.done + len(lines)), "verdicts": [_plain(*one) for one in pairs]}
            lines.append(json.dumps(row, ensure_ascii=True, allow_nan=False))
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done += len(lines)

    def _name(self, place: int) -> str:
        prompt, completions, name = answers_in(self._records[place])
        return digest_of([name, prompt.id, [completion.text for completion in completions]])

    def _read(self, line: bytes, number: int) -> Judged:
        try:
            row: Any = json.loads(line)
            if number > len(self._records) or row["record"] != self._name(number - 1):
                raise ValueError("it is of another record")
            return [self._pair(number - 1, one) for one in row["verdicts"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"{self._path}:{number} cannot be continued ({error}): the file is damaged, or the answers have "
                "changed; give another run.out"
            ) from error

    def _pair(self, place: int, row: Any) -> tuple[ChosenPair, JudgeVerdict]:
        prompt, completions, name = answers_in(self._records[place])
        i, j = row["places"]
        pair = ChosenPair(prompt, completions[i], completions[j], (i, j), name, len(completions))
        return pair, JudgeVerdict(
            row["preference"], tuple(_principle(one) for one in row["by_principle"]), row["problem"]
        )


def _plain(pair: ChosenPair, verdict: JudgeVerdict) -> dict[str, Any]:
    return {"places": list(pair.places), **asdict(verdict)}


def _principle(row: Any) -> PrincipleVerdict:
    two = {name: None if row[name] is None else tuple(row[name]) for name in ("first_place", "grades")}
    return PrincipleVerdict(**{**row, **two, "reasons": tuple(row["reasons"])})

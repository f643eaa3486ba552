"""Where a sitting's judgements go: a label file (`ledger`), or a project in a database."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from steersman.judging.verdicts import Judgement


@runtime_checkable
class KeptAct(Protocol):
    """An action that is in effect: an item judged (with its record) or skipped (without)."""

    @property
    def item(self) -> str: ...
    @property
    def record(self) -> Judgement | None: ...


@runtime_checkable
class LabelKeeper(Protocol):
    """What a sitting writes to. `judge`, `skip` and `undo` return when it is saved, or raise SaveError."""

    mode: str
    annotator: str
    notices: list[str]

    @property
    def place(self) -> str:
        """Where the judgements are, in words; also the name of a source that reads them."""
        ...

    @property
    def judged(self) -> set[str]: ...
    @property
    def skipped(self) -> set[str]: ...
    @property
    def records(self) -> list[Judgement]: ...
    def open_sitting(self, **facts: object) -> None: ...
    def judge(self, item: str, record: Judgement, **facts: object) -> None: ...
    def skip(self, item: str, reason: str, **facts: object) -> None: ...
    def undo(self) -> KeptAct | None: ...
    def revisit(self) -> int: ...
    def save_draft(self, item: str, text: str) -> None: ...
    def draft(self, item: str) -> str: ...

    def scratch(self, item: str) -> Path:
        """The file in which an editor writes the answer to this item."""
        ...

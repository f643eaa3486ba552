"""What is known of each stage that was begun: a JSON file beside its output, `stages/NAME-HASH.json`."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from steersman.errors import DataError
from steersman.rounds.identity import Identity
from steersman.runs.folder import atomic_write_text
from steersman.secrets import concealed

State = Literal["begun", "stopped", "refused", "failed", "finished"]
FOLDER = "stages"


@dataclass(frozen=True, slots=True)
class StageRecord:
    """One stage with one identity. `seconds` is its time so far, over all starts; `why` is the message of a failure."""

    stage: str
    hash: str
    command: str
    version: int
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    output: str
    state: State = "begun"
    began: float = 0.0
    ended: float = 0.0
    seconds: float = 0.0
    why: str = ""

    @classmethod
    def begin(cls, stage: str, identity: Identity, output: Path) -> "StageRecord":
        settings, inputs = concealed(dict(identity.settings)), concealed(dict(identity.inputs))
        return cls(
            stage, identity.hash, identity.command, identity.version, settings, inputs, output.name, began=time.time()
        )

    def begun_again(self) -> "StageRecord":
        return replace(self, state="begun", began=time.time(), why="")

    def now(self, state: State, why: str = "") -> "StageRecord":
        """The record as the stage ends now."""
        ended = time.time()
        return replace(self, state=state, ended=ended, seconds=self.seconds + max(0.0, ended - self.began), why=why)


class Records:
    """The records in a graph's folder."""

    def __init__(self, out: Path) -> None:
        self.folder = out / FOLDER

    def path_of(self, stage: str, digest: str) -> Path:
        return self.folder / f"{stage}-{digest}.json"

    def find(self, stage: str, digest: str) -> StageRecord | None:
        path = self.path_of(stage, digest)
        return _read(path) if path.exists() else None

    def of(self, stage: str) -> list[StageRecord]:
        """All records of a stage, the newest first."""
        found = [_read(path) for path in self.folder.glob(f"{stage}-*.json")]
        return sorted((one for one in found if one.stage == stage), key=lambda one: -one.began)

    def like(self, kind: str) -> list[StageRecord]:
        """All records of stages of a kind (`StageNode.like`), the newest first."""
        found = [one for one in self.all() if like(one.stage) == kind]
        return sorted(found, key=lambda one: -one.began)

    def all(self) -> list[StageRecord]:
        return [_read(path) for path in sorted(self.folder.glob("*.json"))]

    def write(self, record: StageRecord) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(self.path_of(record.stage, record.hash), json.dumps(asdict(record), indent=2) + "\n")

    def remove(self, record: StageRecord) -> None:
        self.path_of(record.stage, record.hash).unlink(missing_ok=True)


def like(stage: str) -> str:
    """What stages of one kind have in common in all rounds: their name without the round's number."""
    return re.sub(r"-\d+(?=-|$)", "", stage)


def _read(path: Path) -> StageRecord:
    try:
        return StageRecord(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read as the record of a stage: {error}. Remove it, and the stage goes on from what its "
            "output holds."
        ) from error

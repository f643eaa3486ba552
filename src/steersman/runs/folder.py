"""What a run leaves on disk, as one folder, and writing that a crash cannot tear.

Names every file of a run once. `atomic_write_*` writes aside, fsyncs, renames and fsyncs the parent folder: a reader
sees the old content or the new one, never a mixture.
"""

import errno
import json
import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.errors import SteersmanError, UsageError

DISK_FULL = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
TEMPORARY = ".tmp-"
ENDED = ("finished", "stopped")


def aside(path: Path) -> Path:
    """A name beside `path` that nobody else uses, on the same file system so that it can be renamed into place."""
    return path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def fsync_path(path: Path) -> None:
    """Forces a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(path: Path) -> int:
    """Bytes free for us where `path` is, or will be."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def not_written(path: Path, needed: int, error: OSError) -> str:
    """What to say when the disk would not take a file: which, how much, and what to do."""
    return (
        f"{path} could not be written: {error.strerror}. It needs {needed:,} bytes; {free_bytes(path):,} are free. "
        "Free some space (or raise the quota or file size limit), then run the same command again."
    )


def atomic_write_bytes(path: Path, content: bytes) -> None:
    temporary = aside(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise SteersmanError(not_written(path, len(content), error)) from error
        raise
    fsync_path(path.parent)


def atomic_write_text(path: Path, text: str) -> None:
    atomic_write_bytes(path, text.encode())


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The names inside `runs/<name>/`. Nothing is read or written until a method says so."""

    path: Path

    @property
    def recipe_path(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def stamp_path(self) -> Path:
        return self.path / "stamp.json"

    @property
    def journal_path(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def ending_path(self) -> Path:
        return self.path / "ending.json"

    @property
    def quarantine_path(self) -> Path:
        """Rows of data that could not be read, as JSON lines."""
        return self.path / "quarantine.jsonl"

    @property
    def watch_path(self) -> Path:
        """What the watch over a run of PPO found, as JSON lines: each finding with the answers that show it."""
        return self.path / "watch.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The finished model, an ordinary Hugging Face folder."""
        return self.path / "model"

    @property
    def is_run(self) -> bool:
        return self.recipe_path.exists() or self.stamp_path.exists()

    @classmethod
    def create_or_open(cls, path: Path) -> "RunFolder":
        """The run folder at `path`, made if it is not there; a folder that holds something else is left alone."""
        folder = cls(path)
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file; a run needs a folder. Choose another name for the run.")
        try:
            path.mkdir(parents=True, exist_ok=True)
            strangers = [] if folder.is_run else folder._strangers()
            if strangers:
                raise UsageError(
                    f"{path} holds {strangers[0]!r} and neither recipe.toml nor stamp.json, so it is not a run. "
                    "Choose an empty or a new folder."
                )
            probe = aside(path / "probe")
            probe.touch()
            probe.unlink()
            folder.samples.mkdir(exist_ok=True)
            folder.checkpoints.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the run folder {path} cannot be used: {error.strerror} ({error.filename}). "
                "Choose a folder that you can create and write to."
            ) from error
        return folder

    def _strangers(self) -> list[str]:
        """Names that a run killed before its first file could not have left here."""
        ours = {".lock"} | {
            folder.name for folder in (self.samples, self.checkpoints) if folder.is_dir() and not any(folder.iterdir())
        }
        names = sorted(entry.name for entry in self.path.iterdir())
        return [name for name in names if name not in ours and not name.startswith(TEMPORARY)]

    def mark_started(self) -> None:
        """Forgets an earlier ending, so that a run continued and then killed is not taken for a finished one."""
        self.ending_path.unlink(missing_ok=True)

    def mark_ended(self, state: str, step: int, why: str = "") -> None:
        """Says durably that the run is over: `finished`, or `stopped` and can be continued."""
        if state not in ENDED:
            raise UsageError(f"a run ends as one of {', '.join(ENDED)}; seen {state!r}")
        ending: dict[str, Any] = {"state": state, "step": step, "why": why, "time": time.time()}
        atomic_write_text(self.ending_path, json.dumps(ending, indent=2) + "\n")

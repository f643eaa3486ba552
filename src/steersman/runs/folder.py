"""The files of a run folder, each named once, and atomic writes.

`atomic_write_*` writes a temporary file, fsyncs it, renames it and fsyncs the parent folder. A reader sees the old
content or the new one, never a mixture, also after a crash.
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
    """An unused temporary path beside `path`. It is on the same file system, so it can be renamed to `path`."""
    return path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def fsync_path(path: Path) -> None:
    """Flush a file, or a folder's directory entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(path: Path) -> int:
    """Free bytes on the file system where `path` is or will be."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def not_written(path: Path, needed: int, error: OSError) -> str:
    """The error message for a file that could not be written, with the bytes needed and free, and what to do."""
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
    """Write a text as UTF-8. What is not text in it (a file's name of other bytes) becomes \\udc.., as JSON has it."""
    atomic_write_bytes(path, text.encode("utf-8", "backslashreplace"))


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths inside a run folder `runs/<name>/`. Creating the object reads and writes nothing."""

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
    def planned_path(self) -> Path:
        """How many steps the run is going to have, as JSON."""
        return self.path / "planned.json"

    @property
    def quarantine_path(self) -> Path:
        """Malformed data rows, as JSON lines."""
        return self.path / "quarantine.jsonl"

    @property
    def watch_path(self) -> Path:
        """The findings of a PPO run's watch, as JSON lines, each with example answers."""
        return self.path / "watch.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    def samples_path(self, step: int) -> Path:
        """Answers of one iteration, with all quantities of each token."""
        return self.samples / f"iteration-{step:06d}.jsonl"

    def held_out_path(self, step: int) -> Path:
        """The answers of one evaluation on held-out prompts."""
        return self.samples / f"held-out-{step:06d}.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The final model, in Hugging Face format."""
        return self.path / "model"

    @property
    def is_run(self) -> bool:
        return self.recipe_path.exists() or self.stamp_path.exists()

    @classmethod
    def create_or_open(cls, path: Path) -> "RunFolder":
        """The run folder at `path`, created if needed. A folder with other files in it is an error and is not
        changed."""
        folder = cls(path)
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file; a run needs a folder. Choose another name for the run.")
        try:
            path.mkdir(parents=True, exist_ok=True)
            others = [] if folder.is_run else folder._other_files()
            if others:
                raise UsageError(
                    f"{path} holds {others[0]!r} and neither recipe.toml nor stamp.json, so it is not a run. "
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

    def _other_files(self) -> list[str]:
        """Names of files that no run wrote, not even one that was killed before its first file."""
        ours = {".lock"} | {
            folder.name for folder in (self.samples, self.checkpoints) if folder.is_dir() and not any(folder.iterdir())
        }
        names = sorted(entry.name for entry in self.path.iterdir())
        return [name for name in names if name not in ours and not name.startswith(TEMPORARY)]

    def mark_started(self) -> None:
        """Delete an earlier ending.json, so that a run that is resumed and then killed does not count as finished."""
        self.ending_path.unlink(missing_ok=True)

    def mark_ended(self, state: str, step: int, why: str = "") -> None:
        """Write ending.json: the run is `finished`, or `stopped` and can be resumed."""
        if state not in ENDED:
            raise UsageError(f"unknown ending of a run; expected one of {', '.join(ENDED)}; seen {state!r}")
        ending: dict[str, Any] = {"state": state, "step": step, "why": why, "time": time.time()}
        atomic_write_text(self.ending_path, json.dumps(ending, indent=2) + "\n")

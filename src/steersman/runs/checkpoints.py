"""Checkpoints that a crash cannot tear and that notice their own damage.

Written aside, hashed, fsynced, renamed, and the parent fsynced: a name `step-000120` is a whole checkpoint or none.
Loading hashes again and falls back to the newest that is good. What a checkpoint holds is the caller's business.
Several ranks may fill one checkpoint; one of them calls `write`.
"""

import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steersman.errors import CheckpointError
from steersman.runs.folder import DISK_FULL, TEMPORARY, aside, atomic_write_bytes, free_bytes, fsync_path
from steersman.runs.manifest import MANIFEST, find_problems, make_manifest, parse, read_manifest, render, total_bytes

_NAME = re.compile(r"step-(\d{6,})")
# Libraries turn the system's error into their own: safetensors quotes it, torch.save only counts bytes.
_FULL_WORDS = re.compile(r"os error (27|28|122)\b|No space left|File too large|quota exceeded|unexpected pos \d+ vs")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose every byte has been verified."""

    path: Path
    step: int
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Best:
    """The step that did best so far, by which measure, and how well."""

    step: int
    measure: str
    value: float


class CheckpointStore:
    """The checkpoints of one run. Reading is for everybody; writing needs the run's lock. `on_damage` gets each message."""

    def __init__(self, folder: Path, on_damage: Callable[[str], None] = lambda message: None) -> None:
        self.folder, self._on_damage = folder, on_damage
        # What this process knows, so that retention never trades a good checkpoint for a damaged one.
        self._good: set[int] = set()
        self._damaged: set[int] = set()

    def path_of(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, good or not, in order."""
        if not self.folder.is_dir():
            return []
        found = ((_NAME.fullmatch(path.name), path) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match, path in found if match and path.is_dir())

    def holds(self, step: int) -> bool:
        """Whether a whole, undamaged checkpoint of this step is there."""
        return self.path_of(step).is_dir() and not self.verify(self.path_of(step))

    def verify(self, path: Path, *, contents: bool = True) -> list[str]:
        """What is wrong with a checkpoint, a line a file; empty if nothing. `contents=False` skips the hashing."""
        match = _NAME.fullmatch(path.name)
        if match is None or not path.is_dir():
            return [f"{path.name}: not a checkpoint folder"]
        return find_problems(path, int(match[1]), contents=contents)

    def latest(self) -> Checkpoint | None:
        """The newest good checkpoint; None if there is none at all. Every damaged one passed over is reported."""
        damage: list[str] = []
        for step in reversed(self.steps()):
            path = self.path_of(step)
            problems = self.verify(path)
            if not problems:
                self._good.add(step)
                for message in damage:
                    self._on_damage(f"{message}. Using {path.name} instead; the steps since are done again.")
                return Checkpoint(path, step, read_manifest(path)["facts"])
            self._good.discard(step)
            self._damaged.add(step)
            damage.append(f"{path} is damaged: {'; '.join(problems)}")
        if damage:
            raise CheckpointError(
                f"no checkpoint in {self.folder} can be used. "
                + ". ".join(damage)
                + ". Restore one from a copy, or move "
                f"{self.folder} away to start the run from its beginning."
            )
        return None

    def write(
        self, step: int, fill: Callable[[Path], object], facts: Mapping[str, Any], expected_bytes: int | None = None
    ) -> Path:
        """Lets `fill` write into an empty folder and makes that the checkpoint of `step`.

        A damaged checkpoint of the same step is replaced; a good one is an error. If the disk is full nothing is left
        behind and earlier checkpoints are as they were.
        """
        path = self.path_of(step)
        if self.holds(step):
            raise CheckpointError(
                f"{path} is there and undamaged; a checkpoint is written once. To go on from an earlier step call "
                f"`discard_after`, or choose another run folder."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        free = free_bytes(self.folder)
        if expected_bytes is not None and expected_bytes > free:
            raise CheckpointError(_no_room(path, expected_bytes, free))
        temporary = aside(path)
        temporary.mkdir()
        try:
            fill(temporary)
            (temporary / MANIFEST).write_bytes(make_manifest(temporary, step, facts))
            _fsync_tree(temporary)
            self._discard(path)
            temporary.rename(path)
        except BaseException as error:
            # Some libraries remove their own half; then the newest whole checkpoint says how much it takes.
            likely = max(expected_bytes or 0, *(total_bytes(each) for each in self._temporary_and_newest(temporary)))
            shutil.rmtree(temporary, ignore_errors=True)
            if is_disk_full(error):
                message = _no_room(path, likely, free_bytes(self.folder), str(error))
                raise CheckpointError(message) from error
            raise
        fsync_path(self.folder)
        self._good.add(step)
        self._damaged.discard(step)
        return path

    def _temporary_and_newest(self, temporary: Path) -> list[Path]:
        return [temporary, *(self.path_of(step) for step in self.steps()[-1:])]

    def mark_best(self, step: int, measure: str, value: float) -> None:
        """Remembers, durably, which step did best."""
        if not math.isfinite(value):
            raise CheckpointError(
                f"step {step} cannot be the best: its {measure} is {value}. Mark a step with a number."
            )
        atomic_write_bytes(self._best_path, render(asdict(Best(step, measure, value))))

    def best(self) -> Best | None:
        """The step marked best; None if none is, or if the mark is damaged, which is reported."""
        try:
            raw = self._best_path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            content = parse(raw)
        except ValueError as error:
            self._on_damage(
                f"{self._best_path} is damaged: {error}; the best step is forgotten until the next measure."
            )
            return None
        return Best(content["step"], content["measure"], content["value"])

    @property
    def _best_path(self) -> Path:
        return self.folder / "best.json"

    def retain(self, last: int, every: int | None = None, best: int | None = None) -> list[int]:
        """Deletes all but the newest `last` good ones, every `every`-th step and the best (as marked, unless given).

        Returns the steps deleted. The newest good one always stays, and what lies after it is not touched.
        """
        if last < 1:
            raise CheckpointError(f"at least one checkpoint must be kept; seen last={last}")
        steps = self.steps()
        if not self._good.intersection(steps):
            self.latest()
        newest = max(self._good.intersection(steps), default=-1)
        older = [step for step in steps if step <= newest]
        sound = [s for s in older if s not in self._damaged and not self.verify(self.path_of(s), contents=False)]
        if best is None and (marked := self.best()) is not None:
            best = marked.step
        kept = {*sound[-last:], newest, best} | {step for step in sound if every and step % every == 0}
        deleted = [step for step in older if step not in kept]
        for step in deleted:
            self._discard(self.path_of(step))
        return deleted

    def discard_after(self, step: int) -> list[int]:
        """Deletes every checkpoint after `step`, and the best mark if it points there: for going on from an earlier one."""
        deleted = [later for later in self.steps() if later > step]
        for later in deleted:
            self._discard(self.path_of(later))
        marked = self.best()
        if marked is not None and marked.step > step:
            self._best_path.unlink()
        return deleted

    def clean(self) -> list[str]:
        """Removes what killed processes left half written. Only for the holder of the run's lock."""
        if not self.folder.is_dir():
            return []
        left = sorted(path for path in self.folder.iterdir() if path.name.startswith(TEMPORARY))
        for path in left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return [path.name for path in left]

    def _discard(self, path: Path) -> None:
        """Renamed first, so that being killed halfway leaves a leftover and no half checkpoint."""
        if path.is_dir():
            leftover = aside(path)
            path.rename(leftover)
            fsync_path(self.folder)
            shutil.rmtree(leftover)


def _fsync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        fsync_path(path)
    fsync_path(folder)


def _no_room(path: Path, needed: int, free: int, seen: str = "") -> str:
    said = f" ({seen})" if seen else ""
    return (
        f"no room for the checkpoint {path}{said}: it needs about {needed:,} bytes, {free:,} are free. Earlier "
        "checkpoints are untouched. Free some space (or raise the quota or file size limit), then run the same command again."
    )


def is_disk_full(error: BaseException) -> bool:
    """Whether a full disk, a quota or a file size limit is behind this error, whatever a library made of it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in DISK_FULL:
            return True
        if isinstance(seen, Exception) and _FULL_WORDS.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False

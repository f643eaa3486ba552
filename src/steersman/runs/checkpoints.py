"""The checkpoints of a run: written atomically, verified by hash when they are loaded.

A checkpoint is written to a temporary folder, hashed, fsynced and renamed, and the parent folder is fsynced. So a
folder `step-000120` is always a complete checkpoint. Loading verifies the hashes and falls back to the newest undamaged
one. The caller decides what a checkpoint holds. Several ranks may fill one checkpoint; one of them calls `write`.
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
# Libraries replace the operating system's error by their own: safetensors quotes it, torch.save only counts bytes.
_DISK_FULL_TEXT = re.compile(
    r"os error (27|28|122)\b|No space left|File too large|quota exceeded|unexpected pos \d+ vs"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files have all been verified by hash."""

    path: Path
    step: int
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Best:
    """The best step so far, the metric it was chosen by, and its value."""

    step: int
    measure: str
    value: float


class CheckpointStore:
    """The checkpoints of one run. Reading needs no lock; writing needs the run's lock. `on_damage` is called with each
    message about a damaged checkpoint."""

    def __init__(self, folder: Path, on_damage: Callable[[str], None] = lambda message: None) -> None:
        self.folder, self._on_damage = folder, on_damage
        # Steps verified by this process, so that retention never keeps a damaged checkpoint instead of a good one.
        self._good: set[int] = set()
        self._damaged: set[int] = set()

    def path_of(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, damaged or not, in order."""
        if not self.folder.is_dir():
            return []
        found = ((_NAME.fullmatch(path.name), path) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match, path in found if match and path.is_dir())

    def holds(self, step: int) -> bool:
        """Whether there is an undamaged checkpoint of this step."""
        return self.path_of(step).is_dir() and not self.verify(self.path_of(step))

    def verify(self, path: Path, *, contents: bool = True) -> list[str]:
        """The problems of a checkpoint, one line per file; empty if it is good. `contents=False` skips the hashing."""
        match = _NAME.fullmatch(path.name)
        if match is None or not path.is_dir():
            return [f"{path.name}: not a checkpoint folder"]
        return find_problems(path, int(match[1]), contents=contents)

    def latest(self) -> Checkpoint | None:
        """The newest undamaged checkpoint, or None if there are no checkpoints. Damaged ones are reported and
        skipped."""
        damage: list[str] = []
        for step in reversed(self.steps()):
            path = self.path_of(step)
            problems = self.verify(path)
            if not problems:
                self._good.add(step)
                for message in damage:
                    self._on_damage(f"{message}. Using {path.name} instead; the steps after it are repeated.")
                return Checkpoint(path, step, read_manifest(path)["facts"])
            self._good.discard(step)
            self._damaged.add(step)
            damage.append(f"{path} is damaged: {'; '.join(problems)}")
        if damage:
            raise CheckpointError(
                f"no checkpoint in {self.folder} can be used. "
                + ". ".join(damage)
                + ". Restore one from a backup, or move "
                f"{self.folder} away to start the run from its beginning."
            )
        return None

    def write(
        self, step: int, fill: Callable[[Path], object], facts: Mapping[str, Any], expected_bytes: int | None = None
    ) -> Path:
        """Write the checkpoint of `step`: `fill` writes its files into an empty folder.

        A damaged checkpoint of the same step is replaced; an undamaged one is an error. If the disk is full, the
        partial checkpoint is removed and earlier ones are not changed.
        """
        path = self.path_of(step)
        if self.holds(step):
            raise CheckpointError(
                f"{path} exists and is undamaged; a checkpoint is written only once. To resume from an earlier step "
                f"call `discard_after`, or choose another run folder."
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
            # Some libraries delete their partial files. Then the size of the newest complete checkpoint is the
            # estimate.
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
        """Save `step` as the best one, in best.json."""
        if not math.isfinite(value):
            raise CheckpointError(
                f"step {step} cannot be the best: its {measure} is {value}; expected a finite number."
            )
        atomic_write_bytes(self._best_path, render(asdict(Best(step, measure, value))))

    def best(self) -> Best | None:
        """The step marked as best, or None. A damaged mark is reported and counts as none."""
        try:
            raw = self._best_path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            content = parse(raw)
        except ValueError as error:
            self._on_damage(f"{self._best_path} is damaged: {error}; there is no best step until the next evaluation.")
            return None
        return Best(content["step"], content["measure"], content["value"])

    @property
    def _best_path(self) -> Path:
        return self.folder / "best.json"

    def retain(self, last: int, every: int | None = None, best: int | None = None) -> list[int]:
        """Delete checkpoints, except the newest `last` good ones, every `every`-th step and the best one.

        `best` is the marked step unless given. Returns the deleted steps. The newest good checkpoint is always kept,
        and checkpoints after it are not touched.
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
        """Delete all checkpoints after `step`, and the best mark if it points to one of them, to resume from `step`."""
        deleted = [later for later in self.steps() if later > step]
        for later in deleted:
            self._discard(self.path_of(later))
        marked = self.best()
        if marked is not None and marked.step > step:
            self._best_path.unlink()
        return deleted

    def clean(self) -> list[str]:
        """Delete partial checkpoints of killed processes. Call it only while holding the run's lock."""
        if not self.folder.is_dir():
            return []
        left = sorted(path for path in self.folder.iterdir() if path.name.startswith(TEMPORARY))
        for path in left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return [path.name for path in left]

    def _discard(self, path: Path) -> None:
        """Delete a checkpoint. It is renamed first, so that a kill halfway leaves a temporary folder, not half a
        checkpoint."""
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
    reason = f" ({seen})" if seen else ""
    return (
        f"no room for the checkpoint {path}{reason}: it needs about {needed:,} bytes, {free:,} are free. Earlier "
        "checkpoints are unchanged. Free some space (or raise the quota or file size limit), then run the same command "
        "again."
    )


def is_disk_full(error: BaseException) -> bool:
    """Whether this error was caused by a full disk, a quota or a file size limit, also if a library has wrapped it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in DISK_FULL:
            return True
        if isinstance(seen, Exception) and _DISK_FULL_TEXT.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False

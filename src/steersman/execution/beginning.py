"""How every training command begins: with the settings that its folder's run began with, and with no folder left behind
if it is refused (no such source, model or scorer). There is nothing to resume then, and `runs list` would call it
crashed.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from steersman.errors import DataError, MissingLibrary, ModelError, RunLocked, UsageError
from steersman.execution.frozen_sources import with_frozen_sources
from steersman.execution.recorded import as_recorded, value_of
from steersman.execution.same_run import learned_nothing
from steersman.runs.folder import RunFolder
from steersman.runs.lock import RunLock
from steersman.settings.base import Settings

S = TypeVar("S", bound=Settings)
P = ParamSpec("P")
R = TypeVar("R")

REFUSALS = (UsageError, DataError, ModelError, MissingLibrary)


def begins_run(run: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A runner whose settings go through `as_recorded` and `with_frozen_sources` first, and which leaves no folder if
    it is refused."""

    @wraps(run)
    def runner(settings: S, /, *args: P.args, **more: P.kwargs) -> R:
        folder = RunFolder(Path(value_of(settings, "run.out")))
        with no_folder_if_refused(folder.path):
            return run(with_frozen_sources(as_recorded(settings, folder), folder), *args, **more)

    return runner


@contextmanager
def no_folder_if_refused(out: Path) -> Iterator[None]:
    """Within it a run begins in `out`. If the run is refused before it has learned anything, what it wrote is removed.

    What was there before stays, and so do malformed rows, tokens and services' replies, which a user may want.
    """
    if int(os.environ.get("RANK", "0")) > 0 or RunFolder(out).is_run:
        yield
        return
    made = [path for path in (out, *out.parents) if not path.exists()]
    try:
        yield
    except REFUSALS:
        _remove(out, made)
        raise


def _remove(out: Path, made: list[Path]) -> None:
    folder = RunFolder(out)
    if folder.is_run and not _worth_keeping(folder):
        with suppress(RunLocked), RunLock(out):
            for entry in out.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
    for path in made:
        with suppress(OSError):
            path.rmdir()


def _worth_keeping(folder: RunFolder) -> bool:
    if not learned_nothing(folder) or folder.ending_path.exists():
        return True
    made = [folder.quarantine_path, *folder.path.glob("tokens/*"), *folder.path.glob("*scorer/replies*")]
    return any(path.is_dir() or (path.is_file() and path.stat().st_size > 0) for path in made)

"""Lock of a run folder, so that one process at a time works in it: an flock on `<folder>/.lock`.

The kernel releases an flock however the process ends. The file names its holder (pid, host, since when) for the error
message that a second process gets. A run that is refused removes it with its folder; `acquire` then sees that its file
has no name any more.
"""

import fcntl
import json
import os
import socket
import time
import weakref
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from steersman.errors import RunLocked, SteersmanError

# `holder_of` holds a shared lock for microseconds; a starting run must not fail because of it.
PATIENCE_SECONDS = 0.3
PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a run folder's lock. A pid of 0 means that the lock file does not name it."""

    pid: int
    host: str
    since: str


class RunLock:
    """The lock of one run folder. Held from `acquire` (or `with`) to `release` (or the end of `with` or of the
    process)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def acquire(self) -> "RunLock":
        if self._descriptor is not None:
            return self
        descriptor = self._locked_descriptor()
        try:
            holder = Holder(
                os.getpid(), socket.gethostname(), datetime.now().astimezone().isoformat(timespec="seconds")
            )
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _HELD.add(self)
        return self

    def _locked_descriptor(self) -> int:
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(_lock_path(self.folder), os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._wait_for(descriptor)
                if _is_still(_lock_path(self.folder), descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            # A run that was refused has removed the folder in the meantime: the lock is on a file without a name.
            os.close(descriptor)

    def _wait_for(self, descriptor: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RunLocked(_refusal(self.folder, _read_holder(self.folder))) from None
                time.sleep(PAUSE_SECONDS)
            except OSError as error:
                raise SteersmanError(
                    f"{_lock_path(self.folder)} cannot be locked: {error.strerror}. A run needs a file system with "
                    "flock; put the run folder on a local disk."
                ) from error

    def release(self) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            self.forget()

    def forget(self) -> None:
        """Close this process's file descriptor. A process that shares the lock (after a fork) keeps it."""
        descriptor, self._descriptor = self._descriptor, None
        _HELD.discard(self)
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> "RunLock":
        return self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()


# A forked child (a data loader's worker) shares the lock and would keep it after its parent is killed.
_HELD: "weakref.WeakSet[RunLock]" = weakref.WeakSet()
os.register_at_fork(after_in_child=lambda: [lock.forget() for lock in list(_HELD)])


def lock_run(folder: Path) -> RunLock:
    """Acquire and return the lock of a run folder. Raises `RunLocked` within a second if another process holds it."""
    return RunLock(folder).acquire()


def holder_of(folder: Path) -> Holder | None:
    """The process that holds the folder's lock now, or None. Does not disturb that process."""
    try:
        descriptor = os.open(_lock_path(folder), os.O_RDONLY)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_size == 0:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _read_holder(folder)
    finally:
        os.close(descriptor)


def refuse_if_held(folder: Path) -> None:
    """Raise `RunLocked` if another process works in the folder. Takes no lock; for an early check before models
    load."""
    holder = holder_of(folder)
    if holder is not None:
        raise RunLocked(_refusal(folder, holder))


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _lock_path(folder: Path) -> Path:
    return folder / ".lock"


def _read_holder(folder: Path) -> Holder:
    try:
        return Holder(**json.loads(_lock_path(folder).read_bytes()))
    except (OSError, ValueError, TypeError):
        return Holder(0, "", "")


def _refusal(folder: Path, holder: Holder) -> str:
    if not holder.pid:
        return (
            f"another process is working in {folder} (its lock file does not name it). Wait for it to end or use "
            "another folder."
        )
    return (
        f"process {holder.pid} on {holder.host} has been working in {folder} since {holder.since}. "
        f"Wait for it to end, stop it (kill {holder.pid} on {holder.host}; it saves first), or use another folder."
    )

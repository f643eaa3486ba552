"""What the machine refuses, as a message: files that cannot be read or written, a full disk, memory that ends.

It is caught at the edge, once for all commands: whoever opens a file need not foresee a file system that is read-only.
"""

import errno
import re

from steersman.errors import SteersmanError, UsageError

# How libraries report errors of the operating system as their own: safetensors quotes its number; torch.save counts
# bytes on a full disk.
_QUOTED = re.compile(r"os error (\d+)\b")
_FULL = re.compile(r"No space left|File too large|quota exceeded|unexpected pos \d+ vs")
_NO_MEMORY = re.compile(
    r"can't allocate memory|Cannot allocate memory|out of memory|can't start new thread|bad_alloc|realloc of size"
)
_ADVICE = {
    errno.ENOENT: "check the name",
    errno.EACCES: "change its permissions, or choose another one",
    errno.EPERM: "change its permissions, or choose another one",
    errno.EROFS: "the file system is read-only; choose a place that can be written",
    errno.ENAMETOOLONG: "choose a shorter name (most file systems allow 255 bytes)",
    errno.EISDIR: "name a file instead",
    errno.ENOTDIR: "a part of the path is a file; check the name",
    errno.ENOSPC: "free some space, then run the same command again",
    errno.EFBIG: "raise the limit of a file's size, then run the same command again",
    errno.EDQUOT: "free some space or raise the quota, then run the same command again",
    errno.EMFILE: "raise the limit of open files (ulimit -n), then run the same command again",
    errno.EIO: "the disk or the network behind it failed; check it, then run the same command again",
}
_BY_NAME = frozenset({errno.ENOENT, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR})


def as_message(error: BaseException) -> SteersmanError | None:
    """The error to show for what the operating system refused; None for any other error, which keeps its traceback."""
    if isinstance(error, ExceptionGroup):
        found = [as_message(inner) for inner in error.exceptions]
        return found[0] if found and all(found) else None
    text = str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError | OSError) and _NO_MEMORY.search(text)):
        return SteersmanError(
            f"the memory was not enough: {_first_line(text) or 'no more could be had'}. Use a smaller model, batch, "
            "tokens_per_micro_batch or data.max_length, offload with compute.offload, or free memory; the same command "
            "resumes from the last checkpoint"
        )
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        kind = UsageError if error.errno in _BY_NAME else SteersmanError
        return kind(f"{_name(error)}: {error.strerror}; {_ADVICE.get(error.errno, _OTHERWISE)}")
    number = error.errno if isinstance(error, OSError) else None
    if number is None and isinstance(error, Exception) and (quoted := _QUOTED.search(text)):
        number = int(quoted[1])
    if number is None and isinstance(error, RuntimeError) and _FULL.search(text):
        number = errno.ENOSPC
    if number is None:
        return None
    return SteersmanError(f"the machine refused: {_first_line(text)}; {_ADVICE.get(number, _OTHERWISE)}")


_OTHERWISE = "check the file and the disk, then run the same command again"


def _name(error: OSError) -> str:
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return " and ".join(name if len(name) <= 120 else f"{name[:80]}…{name[-20:]}" for name in names)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:200]

"""Let a small model's process keep the memory that a step gives back, since the next step asks for as much.

The C library of Linux gives freed memory back to the system at once where a process has used no large pieces so far, and each page
comes back by a fault: with a model of a million parameters that is a twentieth of a PPO iteration. Wide models do not need
it: their own large tensors have raised the library's limits, and held memory would only be missed elsewhere.
"""

import ctypes
import platform
from typing import Any

# <malloc.h>
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Pieces up to here come from the heap (the largest limit that the library would come to by itself), and so much stays free at its end.
_PIECE, _FREE = 32 * 2**20, 256 * 2**20
# What stays free by the library's own measure.
_USUAL = 128 * 2**10


def keep_freed_memory() -> bool:
    """For this process from now on; False where the C library is another and nothing was changed."""
    library = _library()
    return library is not None and bool(
        library.mallopt(_MMAP_THRESHOLD, _PIECE) and library.mallopt(_TRIM_THRESHOLD, _FREE)
    )


def give_back_memory() -> None:
    """Where memory runs out nothing is kept any longer, and what was kept goes back to the system."""
    library = _library()
    if library is not None:
        library.mallopt(_TRIM_THRESHOLD, _USUAL)
        library.malloc_trim(0)


def _library() -> Any:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None

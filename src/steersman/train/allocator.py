"""Makes the C library keep freed memory, since the next training step allocates as much again.

glibc returns freed memory to the system at once while a process has not used large blocks, and every page costs a page
fault when it is allocated again: with a model of a million parameters, a twentieth of a PPO iteration. Wide models do
not need this: their large tensors have raised glibc's limits already, and the kept memory would be missing elsewhere.
"""

import ctypes
import platform
from typing import Any

# <malloc.h>
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Blocks up to this size come from the heap (the largest limit that glibc would adapt to by itself), and this much may
# stay free at the end of the heap.
_PIECE, _FREE = 32 * 2**20, 256 * 2**20
# glibc's default for free memory at the end of the heap.
_USUAL = 128 * 2**10


def keep_freed_memory() -> bool:
    """Keep freed memory in this process from now on; False if the C library is not glibc and nothing was changed."""
    library = _library()
    return library is not None and bool(
        library.mallopt(_MMAP_THRESHOLD, _PIECE) and library.mallopt(_TRIM_THRESHOLD, _FREE)
    )


def give_back_memory() -> None:
    """When memory runs out: keep no freed memory any longer, and return it to the system."""
    library = _library()
    if library is not None:
        library.mallopt(_TRIM_THRESHOLD, _USUAL)
        library.malloc_trim(0)


def _library() -> Any:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None

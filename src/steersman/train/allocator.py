"""Let a small model's process keep the memory that a step gives back, since the next step asks for as much.

The C library of Linux gives freed memory back to the system at once where a process has used no large pieces so far, and each page
comes back by a fault: with a model of a million parameters that is a twentieth of a PPO iteration. Wide models do not need
it: their own large tensors have raised the library's limits, and held memory would only be missed elsewhere.
"""

import ctypes
import platform

# <malloc.h>
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Pieces up to here come from the heap (the largest limit that the library would come to by itself), and so much stays free at its end.
_PIECE, _FREE = 32 * 2**20, 256 * 2**20


def keep_freed_memory() -> bool:
    """For this process from now on; False where the C library is another and nothing was changed."""
    if platform.libc_ver()[0] != "glibc":
        return False
    set_option = ctypes.CDLL(None).mallopt
    return bool(set_option(_MMAP_THRESHOLD, _PIECE)) and bool(set_option(_TRIM_THRESHOLD, _FREE))

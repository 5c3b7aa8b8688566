"""What the process does with memory that it has freed."""

from __future__ import annotations

import ctypes
import sys

# Names of <malloc.h>, which has them as numbers.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8

KEEPING = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**63 - 1),
    "MALLOC_ARENA_MAX": "1",
}
"""Environment in which a process that is to be started does the same."""


def keep_freed_memory() -> None:
    """Lets the process keep what it frees, where the C library is glibc.

    XLA allocates a program's scratch memory at every call. By default glibc gives a
    block of that size back to the system at once, and each of its pages is then
    found missing and cleared anew, in a step of the CNN for a third of its time.

    A small network has nothing of that, and loses by it: what the compiler leaves
    behind makes every later allocation slow, and a stream of small steps took twice
    its time.

    To be called before anything starts a thread: a thread that has a part of memory
    of its own, an arena, keeps it, and an arena gives back what is empty.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(M_MMAP_MAX, 0)  # No block is mapped, to be unmapped when it is freed.
    mallopt(M_TRIM_THRESHOLD, -1)  # Never.
    mallopt(M_ARENA_MAX, 1)

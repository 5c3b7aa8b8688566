"""What makes a step fast on a CPU; on other devices none of it applies."""

from __future__ import annotations

import ctypes
import functools
import sys

import jax

# Names of <malloc.h>, which has them as numbers.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Lets the process keep what it frees, where the C library is glibc.

    XLA allocates a program's scratch memory at every call. By default glibc gives a
    block of that size back to the system at once, and each of its pages is then
    found missing and cleared anew, in a step of the CNN for a third of its time.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(M_MMAP_MAX, 0)  # No block is mapped, to be unmapped when it is freed.
    mallopt(M_TRIM_THRESHOLD, -1)  # Never.
    mallopt(M_ARENA_MAX, 1)  # The arenas of threads hold no blocks above 64 MiB.


@functools.cache
def compiler_options() -> dict[str, str]:
    """Options of :func:`jax.jit` that leave products and convolutions to Eigen.

    XLA hands both to another library where it can, which takes a tenth longer for the
    MLP's products and twice as long for convolutions of blocks of pixels. The option
    is an experimental one: where XLA no longer knows it, there are none.
    """
    options = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}
    return options if jax.default_backend() == "cpu" and knows(options) else {}


def knows(options: dict[str, str]) -> bool:
    """Whether XLA compiles with some options."""
    try:
        jax.jit(lambda: 0, compiler_options=options)()
    except jax.errors.JaxRuntimeError:
        return False
    return True

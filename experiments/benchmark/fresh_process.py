"""Measures in a process of its own, which leaves nothing to the next measurement."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
import multiprocessing
import os
from typing import ParamSpec, TypeVar

from experiments.backend.freed_memory import keep_freed_memory
from experiments.errors import UserError

P = ParamSpec("P")
Result = TypeVar("Result")


def in_fresh_process(
    keeps_memory: bool,
    measure: Callable[P, Result],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Result:
    """Calls what measures.

    How memory is kept must be said before a process has threads, and it is right
    for some programs and wrong for others; PyTorch's threads go on spinning for a
    while; and 1e8 parameters leave gaps behind.

    Args:
        keeps_memory: whether the process keeps what it frees.
        measure: a function of a module, that is called there.
        *args: its arguments.
        **kwargs: its arguments by name.

    Raises:
        UserError: if the process dies, as it does where memory is short.
    """
    with ProcessPoolExecutor(
        max_workers=1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(keeps_memory,),
    ) as pool:
        try:
            return pool.submit(measure, *args, **kwargs).result()
        except BrokenProcessPool:
            raise UserError(
                "a measurement's process died, for want of memory perhaps: try a"
                " smaller --largest"
            ) from None


def _begin(keeps_memory: bool) -> None:
    # What is compiled is to be compiled and not found: JAX is imported later.
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    if keeps_memory:
        keep_freed_memory()

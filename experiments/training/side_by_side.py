"""Runs lanes in threads; when one fails or the user stops, all of them end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
import os
import threading
from typing import ParamSpec, TypeVar

import jax
from threadpoolctl import threadpool_limits

from experiments.training import stopping

P = ParamSpec("P")
Lane = TypeVar("Lane")
Result = TypeVar("Result")


def run_side_by_side(
    work: Callable[[Lane, Callable[P, None]], Result],
    lanes: Sequence[Lane],
    tick: Callable[P, None],
) -> list[Result]:
    """Works on all lanes; a small network leaves cores idle, and lanes share nothing.

    Args:
        work: what to do with a lane; it calls the second argument now and then,
            which raises :class:`concurrent.futures.CancelledError` once another
            lane has failed, and :class:`experiments.training.stopping.Stopped` when
            a signal asked for it one call ago.
        lanes: what to work on.
        tick: what that second argument does.

    Returns:
        The results, in the order of the lanes.
    """
    stop = threading.Event()

    def work_unless_stopped(lane: Lane) -> Result:
        asked = False

        def tick_unless_stopped(*args: P.args, **kwargs: P.kwargs) -> None:
            nonlocal asked
            if stop.is_set():
                raise CancelledError
            tick(*args, **kwargs)
            if asked:  # And the lane had no place to be saved at since.
                stopping.raise_if_asked()
            asked = stopping.is_asked()

        stopping.raise_if_asked()
        return work(lane, tick_unless_stopped)

    # On cores that lanes keep busy, BLAS's threads wait for each other: a singular
    # value decomposition then takes a second instead of a millisecond.
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(max(os.cpu_count() or 1, jax.local_device_count())) as pool,
    ):
        try:
            futures = [pool.submit(work_unless_stopped, lane) for lane in lanes]
            return [_result(future) for future in futures]
        except stopping.Stopped:  # Each lane saves itself first.
            pool.shutdown(cancel_futures=True)
            raise
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _result(future: Future[Result]) -> Result:
    """What a lane comes to.

    The main thread hears signals, and a wait without end can miss one: it may come to
    another thread, or just before the wait begins. So it wakes up every second.
    """
    while wait([future], timeout=1).not_done:
        pass
    return future.result()

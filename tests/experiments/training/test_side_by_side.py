"""Lanes run together and end together."""

from concurrent.futures import CancelledError
import threading
import time

import pytest

from experiments.training.side_by_side import run_side_by_side


def test_results_come_in_order_and_ticks_arrive():
    seen = []

    def work(lane, tick):
        time.sleep(0.01 * (3 - lane))
        tick(lane)
        return 10 * lane

    assert run_side_by_side(work, range(4), seen.append) == [0, 10, 20, 30]
    assert sorted(seen) == [0, 1, 2, 3]


@pytest.mark.parametrize("mistake", [KeyboardInterrupt, ValueError])
def test_when_one_lane_fails_the_others_stop_at_their_next_tick(mistake):
    failed, stopped = threading.Event(), []

    def work(lane, tick):
        if lane == 0:
            failed.set()
            raise mistake
        failed.wait()
        try:
            for _ in range(1000):
                time.sleep(0.01)
                tick()
        except CancelledError:
            stopped.append(lane)
            raise

    start = time.perf_counter()
    with pytest.raises(mistake):
        run_side_by_side(work, range(50), lambda: None)
    assert time.perf_counter() - start < 5
    assert set(stopped) <= {1, 2, 3, 4, 5, 6, 7, 8} or len(stopped) < 50

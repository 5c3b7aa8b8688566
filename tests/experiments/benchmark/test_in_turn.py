"""Ways take turns, and rounds that go together are compared."""

import time

import numpy as np
import pytest

from experiments.benchmark.in_turn import compare, medians, time_in_turn


def test_ways_take_turns_after_one_go_each_that_does_not_count():
    order = []
    ways = [lambda name=name: order.append(name) for name in "abc"]
    times = time_in_turn(ways, 4)
    assert "".join(order) == "abc" * 5
    assert times.shape == (4, 3)
    assert (times > 0).all()


def test_a_round_is_compared_with_adams_of_the_same_round():
    reference = np.array([1.0, 10.0, 2.0, 4.0, 5.0])  # The machine drifts.
    found = medians(reference * [1.1, 1.2, 1.3, 1.4, 1.5], reference)
    assert found == pytest.approx(
        {"seconds": 5.6, "ratio": 1.3, "ratio_low": 1.2, "ratio_high": 1.4}
    )


def test_a_way_that_takes_twice_as_long_is_said_to():
    found = compare(lambda: time.sleep(0.04), lambda: time.sleep(0.02), 10, 3)
    assert found["seconds"] == pytest.approx(0.004, rel=0.3)
    assert found["ratio"] == pytest.approx(2, rel=0.3)


def test_adam_is_as_fast_as_itself():
    def adam():
        time.sleep(0.001)

    assert compare(adam, adam, 1, 3)["ratio"] == 1

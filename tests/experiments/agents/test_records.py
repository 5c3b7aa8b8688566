"""How curves of returns are summed up, beside loops."""

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from experiments.agents.records import area, final, of_level

CURVES = st.lists(
    st.tuples(st.integers(0, 3), st.floats(-9, 9)).map(lambda x: (x[0], x[0] * x[1])),
    min_size=1,
)


def area_by_hand(curve):
    first = next((total / count for count, total in curve if count), None)
    value, found = first, []
    for count, total in curve:
        if count:
            value = total / count
        found.append(value)
    return None if first is None else np.mean(found)


@settings(max_examples=100, deadline=None)
@given(CURVES)
def test_the_area_carries_the_last_value_on(curve):
    ended, returned = np.array(curve).T
    wanted = area_by_hand(curve)
    found = area(ended, returned)
    assert found == (None if wanted is None else pytest.approx(wanted))


@settings(max_examples=100, deadline=None)
@given(CURVES, st.integers(1, 5))
def test_the_end_is_the_mean_over_the_episodes_that_ended_there(curve, last):
    some = [i for i, (count, _) in enumerate(curve) if count]
    found = final(*np.array(curve).T, last)
    if not some:
        assert found is None
        return
    tail = curve[min(max(len(curve) - last, 0), some[-1]) :]
    total = sum(value for count, value in tail)
    assert found == pytest.approx(total / sum(count for count, _ in tail))


def test_entropy_and_explained_variance_are_those_of_the_end():
    curves = {
        "ended": np.ones(20, int),
        "returned": np.arange(20.0),
        "entropy": np.arange(20.0),
        "explained_variance": np.array([0.5] * 19 + [np.nan]),
        "loss": np.arange(20.0),
        "gradient_norm": np.arange(20.0),
    }
    found = of_level(curves)
    assert found == {
        "average_return": 9.5,
        "final_return": 18.5,
        "episodes": 20,
        "entropy": 18.5,
        "explained_variance": 0.5,
        "train_loss": 9.5,
        "gradient_norm": 9.5,
    }
    curves["explained_variance"][:] = np.nan
    assert of_level(curves)["explained_variance"] is None

"""Intervals of means over few seeds."""

from hypothesis import given, strategies as st
import numpy as np
import pytest

from experiments.reporting.statistics import COVERAGE, bootstrap_interval

accuracies = st.lists(
    st.floats(0, 1, allow_subnormal=False), min_size=3, max_size=8
).map(np.array)


@given(accuracies)
def test_it_lies_among_the_values_and_holds_their_mean(values):
    low, high = bootstrap_interval(values)
    tiny = 1e-12
    assert values.min() - tiny <= low <= values.mean() + tiny
    assert values.mean() - tiny <= high <= values.max() + tiny


def test_it_is_the_same_every_time():
    values = np.array([0.9, 0.92, 0.97, 0.93])
    assert bootstrap_interval(values) == bootstrap_interval(values.copy())


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_too_few_seeds_have_none(seeds):
    assert bootstrap_interval(np.linspace(0.8, 0.9, seeds)) is None


@pytest.mark.parametrize("seeds", [3, 5])
def test_it_covers_as_seldom_as_said(seeds):
    generator = np.random.default_rng(seeds)
    held = []
    for _ in range(400):
        low, high = bootstrap_interval(generator.normal(size=seeds))
        held.append(low <= 0 <= high)
    # Three standard errors of a share of 400.
    assert np.mean(held) == pytest.approx(COVERAGE[seeds], abs=0.065)

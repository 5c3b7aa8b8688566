"""Interquartile means and their bootstrap, beside their definitions."""

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest
from scipy import stats

from experiments.reporting.aggregates import (
    bootstrap_interval,
    interquartile_mean,
    normalized,
)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 4))
def test_the_interquartile_mean_leaves_a_quarter_on_each_side(seed, runs, tasks):
    scores = np.random.default_rng(seed).normal(size=(runs, tasks))
    ranked = np.sort(scores, axis=None)
    cut = len(ranked) // 4
    wanted = ranked[cut : len(ranked) - cut].mean()
    assert interquartile_mean(scores) == pytest.approx(wanted)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    generator, held = np.random.default_rng(0), 0
    for _ in range(200):
        low, high = bootstrap_interval(list(generator.normal(size=(2, 30))))
        held += low < 0 < high
    assert 0.88 <= held / 200 <= 0.99


def test_strata_are_drawn_each_from_its_own():
    """Two environments far apart, without any spread: every resample has both."""
    strata = [np.zeros(8), np.full(8, 100.0)]
    assert bootstrap_interval(strata) == (50.0, 50.0)
    pooled = [np.concatenate(strata)]
    low, high = bootstrap_interval(pooled)
    assert low < 40 < 60 < high


def test_one_stratum_is_the_percentile_bootstrap():
    scores = np.random.default_rng(1).normal(size=20)
    low, high = bootstrap_interval([scores])
    wanted = stats.bootstrap(
        (scores,),
        lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
        method="percentile",
        n_resamples=2000,
        random_state=np.random.default_rng(2),
    ).confidence_interval
    np.testing.assert_allclose((low, high), wanted, atol=0.08)


def test_one_seed_has_no_interval():
    assert np.isnan(bootstrap_interval([np.ones(5), np.ones(1)])).all()


def test_scores_lie_between_acting_at_random_and_the_control():
    found = normalized(np.array([-400.0, -100, -250]), random=-400.0, control=-100.0)
    np.testing.assert_allclose(found, [0, 1, 0.5])

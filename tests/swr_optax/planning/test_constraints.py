"""The matrix E as the solution of K s = 0."""

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest
import scipy.linalg

from swr_optax.planning._constraints import solve_exponents

CHAIN = np.array(
    [  # w1, b1, w2, b2: b1 = w1, b2 = b1 + w2
        [1.0, -1.0, 0.0, 0.0],
        [1.0, 0.0, 1.0, -1.0],
    ]
)


@pytest.mark.parametrize("priority", ["norms", "function"])
def test_a_chain_gives_the_papers_cumulative_products(priority):
    exponents = solve_exponents(CHAIN, [0, 2], priority)
    np.testing.assert_array_equal(exponents, [[1, 0], [1, 0], [0, 1], [1, 1]])


def test_norms_come_first_where_both_cannot_be_had():
    """X + w2 (w1 x): the branch must not scale, and the norms want it to."""
    rows = np.array([[1.0, 1.0]])
    np.testing.assert_array_equal(
        solve_exponents(rows, [0, 1], "norms"), [[1, 0], [0, 1]]
    )
    np.testing.assert_array_equal(
        solve_exponents(rows, [0, 1], "function"), [[0.5, -0.5], [-0.5, 0.5]]
    )


def test_a_statistic_follows_what_it_measures_and_makes_up_for_nothing():
    """Where v measures data, and w2 x / √v + w1 x is a sum that cannot be met."""
    rows = np.array([[0.0, 0.0, 1.0], [1.0, -1.0, 0.5]])  # w1, w2, v
    exponents = solve_exponents(rows, [0, 1], "norms", [True, False])
    np.testing.assert_array_equal(exponents, [[1, 0], [0, 1], [0, 0]])
    # As one demand of many it would be moved.
    assert solve_exponents(rows, [0, 1], "norms")[2].all()


@given(st.integers(0, 2**16), st.integers(2, 8), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_what_comes_first_is_met_as_well_as_if_it_were_alone(seed, leaves, count):
    rng = np.random.default_rng(seed)
    rows = rng.uniform(-0.9, 0.9, (count, leaves))
    rows[:, 0] = 1.0  # As the solver scales them.
    first = rng.random(count) < 0.5
    weights = rng.permutation(leaves)[: rng.integers(1, leaves)]
    rest = np.setdiff1d(np.arange(leaves), weights)
    wanted = rng.normal(size=len(weights))
    s = solve_exponents(rows, list(weights), "norms", first) @ wanted
    np.testing.assert_allclose(s[weights], wanted, atol=1e-9)
    before, after = rows[first], rows[~first]
    alone, *_ = np.linalg.lstsq(before[:, rest], -before[:, weights] @ wanted)
    least = before[:, rest] @ alone + before[:, weights] @ wanted
    np.testing.assert_allclose(before @ s, least, atol=1e-6)
    # What is left of the others is orthogonal to all that may still move.
    free = scipy.linalg.null_space(before[:, rest])
    np.testing.assert_allclose((after[:, rest] @ free).T @ (after @ s), 0, atol=1e-6)


def test_without_constraints_only_the_weights_scale():
    for priority in ("norms", "function"):
        exponents = solve_exponents(np.zeros((0, 3)), [2, 0], priority)
        np.testing.assert_array_equal(exponents, [[0, 1], [0, 0], [1, 0]])


@given(st.integers(0, 2**16), st.integers(1, 8), st.integers(0, 8), st.data())
@settings(max_examples=60, deadline=None)
def test_each_priority_keeps_its_promise(seed, leaves, count, data):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, (count, leaves)).astype(float)
    # A demand counts once, however often and with whatever factor it is made.
    lengths = {tuple(np.abs(row)): np.abs(row).max() for row in rows if row.any()}
    rows = [row / lengths[tuple(np.abs(row))] for row in rows if row.any()]
    rows = [row * np.sign(row[np.flatnonzero(row)[0]]) for row in rows]
    rows = np.reshape([*{tuple(row): row for row in rows}.values()], (-1, leaves))
    weights = data.draw(st.permutations(range(leaves)))
    weights = weights[: data.draw(st.integers(1, leaves))]
    wanted = rng.normal(size=len(weights))

    s = solve_exponents(rows, weights, "norms") @ wanted
    np.testing.assert_allclose(s[weights], wanted, atol=1e-9)
    rest = [i for i in range(leaves) if i not in weights]
    residual = rows @ s
    if rest:  # Least squares: what is left is orthogonal to all that can move.
        np.testing.assert_allclose(rows[:, rest].T @ residual, 0, atol=1e-8)

    repeated = np.concatenate([rows, -2 * rows])
    exponents = solve_exponents(repeated, weights, "norms")
    np.testing.assert_array_equal(exponents, solve_exponents(rows, weights, "norms"))

    t = solve_exponents(rows, weights, "function") @ wanted
    np.testing.assert_allclose(rows @ t, 0, atol=1e-8)
    # Nearest: what is missing of the wish is orthogonal to all that is allowed.
    projector = (
        np.eye(leaves) - np.linalg.pinv(rows) @ rows if len(rows) else np.eye(leaves)
    )
    missing = np.zeros(leaves)
    missing[weights] = wanted - t[weights]
    np.testing.assert_allclose(projector @ missing, 0, atol=1e-8)

    if np.abs(residual).max(initial=0) < 1e-9:  # Both promises can be kept.
        np.testing.assert_allclose(s, t, atol=1e-8)


def test_what_rounding_leaves_of_a_weight_that_cannot_scale_is_nothing():
    """Both weights are pinned; nothing follows them by 1e16."""
    rows = np.array([[1.0, -1, 0, 0], [1.0, 0, -1, 0], [1.0, 0, 0, 0], [0.3, 0, 0, 1]])
    exponents = solve_exponents(rows, [0, 3], "function")
    np.testing.assert_array_equal(exponents, np.zeros((4, 2)))

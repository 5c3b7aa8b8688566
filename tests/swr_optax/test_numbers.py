"""Long runs, extreme norms and what is not finite."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax
from two_layers import norms_of, randomly, two_layers

STEPS, PERIOD = 100_000, 32
GROWTH, COEFFICIENT = 1e-3, 2e-3


def moves_in_turn(params):
    """Moves that come again and again, as the gradients of batches do."""
    return jax.tree.map(
        lambda p: jnp.asarray(
            0.01 * np.random.default_rng(p.size).standard_normal((PERIOD, *p.shape)),
            jnp.float32,
        ),
        params,
    )


def in_float64(params, moves):
    """The same steps in NumPy, by the paper's rule for two layers."""
    params, moves = jax.tree.map(np.float64, (params, moves))
    first, second = params["first"], params["second"]
    references = [np.linalg.norm(first["w"]), np.linalg.norm(second["w"])]
    for k in range(STEPS):
        for name, layer in params.items():
            for leaf in layer:
                layer[leaf] += moves[name][leaf][k % PERIOD] + GROWTH * layer[leaf]
        c, d = (
            1 + COEFFICIENT * (reference / np.sqrt(np.vdot(w, w)) - 1)
            for reference, w in zip(references, (first["w"], second["w"]), strict=True)
        )
        first["w"] *= c
        first["b"] *= c
        second["w"] *= d
        second["b"] *= c * d
    return params


def test_a_hundred_thousand_steps_drift_by_less_than_a_ten_thousandth():
    params, plan = two_layers(inputs=3, hidden=4, outputs=2)
    moves = moves_in_turn(params)
    tx = swr_optax.soft_weight_rescaling(COEFFICIENT, plan)

    def step(k, carry):
        params, state = carry
        updates = jax.tree.map(
            lambda move, p: move[k % PERIOD] + GROWTH * p, moves, params
        )
        updates, state = tx.update(updates, state, params)
        return optax.apply_updates(params, updates), state

    @jax.jit
    def run(carry):
        return jax.lax.fori_loop(0, STEPS, step, carry)

    found, state = run((params, tx.init(params)))
    assert state.count == STEPS
    expected = in_float64(params, moves)
    assert (norms_of(expected) > 1.5 * norms_of(params)).all()  # It had much to do.
    for name, layer in expected.items():
        for leaf, array in layer.items():
            error = np.abs(found[name][leaf] - array).max() / np.abs(array).max()
            assert error < 1e-4, (name, leaf, error)


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e-15, 1e15, 1e20, 1e30])
def test_small_and_large_norms_go_half_of_their_way_back(size):
    """Float32 does not have the squares of most of these."""
    params = jax.tree.map(lambda p: size * p, two_layers()[0])
    _, plan = two_layers()
    exact = norms_of(jax.tree.map(np.float64, params))
    tx = swr_optax.soft_weight_rescaling(0.5, plan, reset_steps=[1])
    state = tx.init(params)
    np.testing.assert_allclose(state.reference_norms, exact, rtol=1e-6)
    updates, state = tx.update(params, state, params)
    chex.assert_tree_all_finite((updates, state))
    params = optax.apply_updates(params, updates)
    found = norms_of(jax.tree.map(np.float64, params))
    np.testing.assert_allclose(found, 1.5 * exact, rtol=1e-5)
    measured = swr_optax.metrics.weight_norms(params, plan)
    np.testing.assert_allclose(measured, found, rtol=1e-6)
    _, state = tx.update(updates, state, params)
    np.testing.assert_allclose(state.reference_norms, found, rtol=1e-6)


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_weights_that_run_away_are_left_alone(size):
    """There is no knowing what was wanted of them, and nothing becomes NaN."""
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.5, plan)
    state = tx.init(params)
    moves = jax.tree.map(lambda p: (size - 1) * p, params)
    updates, state = tx.update(moves, state, params)
    chex.assert_tree_all_finite((updates, state))
    chex.assert_trees_all_close(updates, moves, rtol=1e-6)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gradients_that_are_not_finite_do_not_reach_reference_norms(bad, dtype):
    params, plan = two_layers()
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    tx = swr_optax.soft_weight_rescaling(0.1, plan, reset_steps=[1, 2])
    state = tx.init(params)
    first = state.reference_norms
    moves = randomly(params)
    moves["first"]["w"] = moves["first"]["w"].at[0, 0].set(bad)
    updates, state = tx.update(moves, state, params)
    chex.assert_tree_all_finite(state)
    chex.assert_tree_all_finite(updates["second"])
    ruined = optax.apply_updates(params, updates)
    _, state = tx.update(moves, state, ruined)  # Where norms become the reference.
    chex.assert_tree_all_finite(state)
    assert state.reference_norms[0] == first[0]
    by_hand = swr_optax.reset_reference_norms(state, ruined, plan)
    chex.assert_tree_all_finite(by_hand)
    assert by_hand.reference_norms[0] == first[0]
    assert by_hand.reference_norms[1] != first[1]

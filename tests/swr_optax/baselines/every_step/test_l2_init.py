"""L2 Init, against its formula."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax


def test_l2_init_adds_the_gradient_of_its_penalty():
    params0 = {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(3)}
    params = jax.tree.map(lambda p: 2 * p + 1, params0)
    grads = jax.tree.map(jnp.cos, params)

    def penalty(params):
        distances = jax.tree.map(lambda p, p0: jnp.sum((p - p0) ** 2), params, params0)
        return 0.3 / 2 * sum(jax.tree.leaves(distances))

    tx = swr_optax.l2_init(0.3)
    found, _ = tx.update(grads, tx.init(params0), params)
    expected = jax.tree.map(jnp.add, grads, jax.grad(penalty)(params))
    chex.assert_trees_all_close(found, expected, rtol=1e-6)


def test_l2_init_needs_params():
    tx = swr_optax.l2_init(0.1)
    with pytest.raises(ValueError, match="l2_init needs the parameters: call update"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_l2_inits_state_shares_no_array_with_the_parameters():
    params = {"w": jnp.ones(4), "b": jnp.ones(2)}
    tx = optax.chain(swr_optax.l2_init(0.1), optax.sgd(0.5))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state):
        moves, state = tx.update(params, state, params)
        return optax.apply_updates(params, moves), state

    for init in (tx.init, jax.jit(tx.init)):
        copied = jax.tree.map(jnp.copy, params)
        found, state = step(copied, init(copied))
        found, state = step(found, state)
        chex.assert_trees_all_equal(state[0].initial_params, params)
        np.testing.assert_allclose(found["w"], 0.275)


@pytest.mark.parametrize("coefficient", [0.25, jnp.float32(0.25), np.float64(0.25)])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_keeps_types(dtype, coefficient):
    params = {"w": jnp.full(4, 2, dtype)}
    start = {"w": jnp.zeros(4, dtype)}
    tx = swr_optax.l2_init(coefficient)
    moves, state = tx.update(start, tx.init(start), params)
    chex.assert_trees_all_equal(moves, {"w": jnp.full(4, 0.5, dtype)})
    chex.assert_trees_all_equal_dtypes(moves, state.initial_params, params)


def test_l2_init_leads_back_to_the_start():
    params0 = {"w": jnp.ones(4)}
    tx = optax.chain(swr_optax.l2_init(1.0), optax.sgd(0.5))
    params, state = {"w": jnp.zeros(4)}, tx.init(params0)
    for _ in range(20):
        moves, state = tx.update({"w": jnp.zeros(4)}, state, params)
        params = optax.apply_updates(params, moves)
    np.testing.assert_allclose(params["w"], 1, rtol=1e-5)


def test_a_negative_coefficient_is_named():
    with pytest.raises(ValueError, match="must not be negative, not -1"):
        swr_optax.l2_init(-1.0)


@pytest.mark.parametrize("coefficient", ["0.1", None, [0.1], 1j, True])
def test_coefficients_of_other_types_are_named(coefficient):
    message = "^coefficient must be a number from 0 up, not "
    with pytest.raises(TypeError, match=message):
        swr_optax.l2_init(coefficient)


def test_a_coefficient_that_is_no_number_at_all_is_refused():
    with pytest.raises(ValueError, match="coefficient must not be negative, not nan"):
        swr_optax.l2_init(float("nan"))

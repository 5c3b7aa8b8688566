"""Hare and Tortoise, against the authors' rule in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax


def test_the_slow_average_and_the_returns_to_it():
    params = {"w": jnp.array([1.0, -2.0])}
    tx = swr_optax.hare_and_tortoise(2, 0.9)
    state = tx.init(params)
    fast = slow = np.array([1.0, -2.0])
    for step in range(1, 5):
        moves = np.cos(fast)
        fast = fast + moves
        slow = 0.9 * slow + 0.1 * fast
        if step % 2 == 0:
            fast = slow
        found, state = tx.update({"w": jnp.float32(moves)}, state, params)
        params = optax.apply_updates(params, found)
        np.testing.assert_allclose(params["w"], fast, rtol=1e-6)
        np.testing.assert_allclose(state.tortoise["w"], slow, rtol=1e-6)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: tx,
        lambda tx: optax.chain(optax.chain(optax.sgd(0.1), tx), optax.identity()),
        lambda tx: optax.apply_if_finite(optax.chain(optax.sgd(0.1), tx), 3),
        lambda tx: optax.MultiSteps(optax.chain(optax.sgd(0.1), tx), 2),
    ],
)
def test_the_tortoise_is_found_at_any_depth(wrap):
    params = {"w": jnp.arange(3.0)}
    state = wrap(swr_optax.hare_and_tortoise(2)).init(params)
    np.testing.assert_array_equal(swr_optax.tortoise_params(state)["w"], params["w"])


def test_a_state_without_one_tortoise_is_named():
    params = {"w": jnp.arange(3.0)}
    tx = swr_optax.hare_and_tortoise(2)
    with pytest.raises(ValueError, match="opt_state holds no HareAndTortoiseState"):
        swr_optax.tortoise_params(optax.sgd(0.1).init(params))
    with pytest.raises(ValueError, match="opt_state holds 2 HareAndTortoiseState"):
        swr_optax.tortoise_params((tx.init(params), tx.init(params)))


def test_hare_and_tortoise_share_no_array():
    params = {"w": jnp.ones(4)}
    tx = optax.chain(optax.sgd(1.0), swr_optax.hare_and_tortoise(1, 0.5))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state):
        moves, state = tx.update(params, state, params)
        return optax.apply_updates(params, moves), state

    state = tx.init(params)
    for _ in range(3):
        params, state = step(params, state)
    np.testing.assert_allclose(params["w"], 0.5**3)
    np.testing.assert_allclose(swr_optax.tortoise_params(state)["w"], 0.5**3)


def test_the_tortoise_of_half_precision_does_not_stand_still():
    params = {"w": jnp.ones(2, jnp.bfloat16)}
    tx = swr_optax.hare_and_tortoise(10_000)
    state = tx.init(params)
    zero = {"w": jnp.zeros(2, jnp.bfloat16)}
    for _ in range(10):
        _, state = tx.update(zero, state, {"w": jnp.zeros(2, jnp.bfloat16)})
    np.testing.assert_allclose(state.tortoise["w"], 0.999**10, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "every must be at least 1, not 0"),
        ((1, 1.5), "decay must be from 0 to 1, not 1.5"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        swr_optax.hare_and_tortoise(*arguments)

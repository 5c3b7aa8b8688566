"""Shrink and perturb at every step, against the authors' rule in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from small_networks import NETWORKS
import swr_optax


def fresh(key):
    keys = jax.random.split(key)
    return {"w": jax.random.normal(keys[0], (3, 2)), "b": jnp.full(2, 0.5)}


def test_two_steps_shrink_and_add_what_the_key_draws():
    params = fresh(jax.random.key(7))
    tx = swr_optax.shrink_and_perturb_each_step(0.1, 0.2, fresh, key=3)
    state = tx.init(params)
    for _ in range(2):
        drawn = fresh(jax.random.split(state.key)[1])
        moves = jax.tree.map(jnp.cos, params)
        found, state = tx.update(moves, state, params)
        expected = {
            name: 0.9 * (np.float64(params[name]) + np.float64(moves[name]))
            + 0.2 * np.float64(drawn[name])
            for name in params
        }
        params = optax.apply_updates(params, found)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            params,
            expected,
        )


def test_steps_and_seeds_draw_other_numbers():
    params = jax.tree.map(jnp.zeros_like, fresh(jax.random.key(0)))
    drawn = []
    for seed in (0, 1):
        tx = swr_optax.shrink_and_perturb_each_step(0, 1, fresh, key=seed)
        state = tx.init(params)
        for _ in range(2):
            moves, state = tx.update(params, state, params)
            drawn.append(np.asarray(moves["w"]))
    assert len({array.tobytes() for array in drawn}) == 4


def test_schedules_count_from_zero():
    params = fresh(jax.random.key(0))
    tx = swr_optax.shrink_and_perturb_each_step(
        lambda step: jnp.where(step == 1, 1.0, 0.0), lambda _: 0.0, fresh
    )
    state = tx.init(params)
    zero = jax.tree.map(jnp.zeros_like, params)
    for expected in (1.0, 0.0):
        moves, state = tx.update(zero, state, params)
        found = optax.apply_updates(params, moves)
        np.testing.assert_allclose(found["w"], expected * params["w"], atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5, 0.1), "shrink must be from 0 to 1, not 1.5"),
        ((0.1, -0.1), "perturb must not be negative, not -0.1"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        swr_optax.shrink_and_perturb_each_step(*arguments, fresh)


def test_a_layout_of_another_network_is_refused():
    params = NETWORKS["mlp"]().params
    tx = swr_optax.shrink_and_perturb_each_step(0.1, 0.1, fresh)
    with pytest.raises(ValueError):  # noqa: PT011 (JAX words it)
        tx.update(params, tx.init(params), params)

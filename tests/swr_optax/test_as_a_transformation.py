"""Pure, traced once, vmapped: what JAX asks of a transformation."""

import chex
import jax
import jax.numpy as jnp
import optax

import swr_optax
from two_layers import randomly, two_layers


def test_does_not_retrace():
    params, plan = two_layers()
    tx = optax.chain(
        optax.adam(1e-2),
        swr_optax.soft_weight_rescaling(
            optax.linear_schedule(0.1, 0.0, 10), plan, reset_steps=(2,)
        ),
    )
    state = tx.init(params)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(params, state, grads):
        moves, state = tx.update(grads, state, params)
        return optax.apply_updates(params, moves), state

    for k in range(4):
        params, state = step(params, state, randomly(params, k))


def test_update_is_pure():
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.25, plan)
    state, moves = tx.init(params), randomly(params)
    chex.assert_trees_all_equal(
        tx.update(moves, state, params), tx.update(moves, state, params)
    )


def test_vmaps_over_seeds():
    plan = two_layers()[1]
    seeds = [two_layers(seed)[0] for seed in range(3)]
    many = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)
    tx = optax.chain(optax.adam(1e-2), swr_optax.soft_weight_rescaling(0.1, plan))
    grads = jax.tree.map(lambda p: p**2, many)

    def step(params, grads):
        moves, state = tx.update(grads, tx.init(params), params)
        return optax.apply_updates(params, moves), state

    together = jax.vmap(step)(many, grads)
    for k, params in enumerate(seeds):
        alone = step(params, jax.tree.map(lambda p: p**2, params))
        chex.assert_trees_all_close(
            jax.tree.map(lambda leaf, k=k: leaf[k], together), alone, rtol=1e-5
        )

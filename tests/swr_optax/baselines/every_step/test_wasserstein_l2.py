"""Wasserstein regularisation, against its formula in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from small_networks import NETWORKS, shifts_of, weights_of
import swr_optax


def gradient(now, start):
    """Of the sum over ranks of squared distances."""
    found = np.zeros(now.size)
    order = np.argsort(now, axis=None)
    found[order] = 2 * (np.sort(now, axis=None) - np.sort(start, axis=None))
    return found.reshape(now.shape)


@pytest.mark.parametrize("name", NETWORKS)
def test_adds_the_gradient_of_its_penalty(name):
    network = NETWORKS[name]()
    start, params = network.params, NETWORKS[name](seed=3).params
    tx = swr_optax.wasserstein_l2(0.3, network.plan)
    found, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(start), params)
    for read in (weights_of, shifts_of):
        pulls, now, then = (read(name, p) for p in (found, params, start))
        for layer in now:
            # A weight's transpose has the same entries.
            np.testing.assert_allclose(
                pulls[layer], 0.3 * gradient(now[layer], then[layer]), atol=1e-6
            )


def test_the_pull_is_the_gradient_of_the_distance_of_the_sorted():
    network = NETWORKS["mlp"]()
    start, params = network.params, NETWORKS["mlp"](seed=3).params

    def distance(p, p0):
        return jnp.sum((jnp.sort(p, None) - jnp.sort(p0, None)) ** 2)

    def penalty(params):
        return sum(jax.tree.leaves(jax.tree.map(distance, params, start)))

    tx = swr_optax.wasserstein_l2(1.0, network.plan)
    found, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(start), params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        found,
        jax.grad(penalty)(params),
    )


def test_a_permutation_of_the_start_is_not_pulled():
    network = NETWORKS["mlp"]()
    tx = swr_optax.wasserstein_l2(1.0, network.plan)
    turned = jax.tree.map(lambda p: p[::-1], network.params)
    zero = jax.tree.map(jnp.zeros_like, turned)
    found, _ = tx.update(zero, tx.init(network.params), turned)
    jax.tree.map(np.testing.assert_array_equal, found, zero)


def test_descent_leads_to_the_initial_distribution():
    network = NETWORKS["mlp"]()
    tx = optax.chain(swr_optax.wasserstein_l2(0.5, network.plan), optax.sgd(0.5))
    params, state = NETWORKS["mlp"](seed=3).params, tx.init(network.params)
    for _ in range(40):
        zero = jax.tree.map(jnp.zeros_like, params)
        moves, state = tx.update(zero, state, params)
        params = optax.apply_updates(params, moves)
    for found, start in zip(
        jax.tree.leaves(params), jax.tree.leaves(network.params), strict=True
    ):
        np.testing.assert_allclose(
            np.sort(found, None), np.sort(start, None), atol=1e-5
        )


def test_the_state_has_the_parameters_shapes():
    network = NETWORKS["stacked"]()
    state = swr_optax.wasserstein_l2(1.0, network.plan).init(network.params)
    shapes = jax.tree.map(jnp.shape, network.params)
    assert jax.tree.map(jnp.shape, state.sorted_initial) == shapes

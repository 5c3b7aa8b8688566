"""Decoupled orthogonal decay, against AdamO's rule in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from small_networks import NETWORKS, shifts_of, weights_of
import swr_optax


def deviation(w):
    """Gram matrix of the smaller side, less one."""
    small = w if w.shape[0] < w.shape[1] else w.T
    return small @ small.T - np.eye(len(small))


def gradient(w):
    """Of the squared Frobenius norm of the deviation."""
    return 4 * (deviation(w) @ w if w.shape[0] < w.shape[1] else w @ deviation(w))


@pytest.mark.parametrize("name", NETWORKS)
def test_subtracts_the_rates_times_the_gradient(name):
    network = NETWORKS[name]()
    tx = swr_optax.orthogonal_decay(0.1, 0.3, network.plan)
    moves = jax.tree.map(jnp.cos, network.params)
    found, _ = tx.update(moves, tx.init(network.params), network.params)
    before, after = weights_of(name, moves), weights_of(name, found)
    for layer, w in weights_of(name, network.params).items():
        pull = 0.03 * gradient(w) if w.ndim == 2 else 0.0
        np.testing.assert_allclose(
            after[layer], before[layer] - pull, rtol=1e-5, atol=1e-6
        )
    jax.tree.map(
        np.testing.assert_array_equal, shifts_of(name, found), shifts_of(name, moves)
    )


def test_numpys_gradient_is_that_of_the_penalty():
    for w in (np.arange(6.0).reshape(2, 3) / 5, np.cos(np.arange(6.0)).reshape(3, 2)):
        found = np.zeros_like(w)
        for at in np.ndindex(*w.shape):
            e = np.zeros_like(w)
            e[at] = 1e-6
            found[at] = (
                np.sum(deviation(w + e) ** 2) - np.sum(deviation(w - e) ** 2)
            ) / 2e-6
        np.testing.assert_allclose(gradient(w), found, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (3, 3)])
def test_either_side_has_the_same_gradient(shape):
    w = np.cos(np.arange(float(np.prod(shape)))).reshape(shape)
    other = 4 * (w @ (w.T @ w - np.eye(shape[1])))
    np.testing.assert_allclose(gradient(w), other, atol=1e-12)


def test_leads_to_orthogonal_weights():
    network = NETWORKS["convolutional"]()
    tx = swr_optax.orthogonal_decay(0.1, 0.2, network.plan)
    params, state = network.params, tx.init(network.params)
    zero = jax.tree.map(jnp.zeros_like, params)
    for _ in range(300):
        moves, state = tx.update(zero, state, params)
        params = optax.apply_updates(params, moves)
    for layer in ("conv", "dense"):
        w = weights_of("convolutional", params)[layer]
        np.testing.assert_allclose(deviation(w), 0, atol=1e-3)


def test_schedules_count_from_zero():
    network = NETWORKS["mlp"]()
    tx = swr_optax.orthogonal_decay(
        optax.piecewise_constant_schedule(1.0, {1: 0.5}), 0.1, network.plan
    )
    state = tx.init(network.params)
    zero = jax.tree.map(jnp.zeros_like, network.params)
    first, state = tx.update(zero, state, network.params)
    second, state = tx.update(zero, state, network.params)
    np.testing.assert_allclose(second["first"]["w"], first["first"]["w"] / 2, rtol=1e-6)
    assert state.count == 2

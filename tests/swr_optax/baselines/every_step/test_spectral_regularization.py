"""Spectral regularisation, against its formula in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from small_networks import NETWORKS, shifts_of, weights_of
import swr_optax


def gradient_of_weight(w):
    """Of (sigma_1(W)^2 - 1)^2, by the singular value decomposition."""
    if w.ndim == 1:
        largest = np.argmax(np.abs(w))
        return np.where(np.arange(len(w)) == largest, 4 * w * (w**2 - 1), 0)
    u, s, vt = np.linalg.svd(w)
    return 4 * s[0] * (s[0] ** 2 - 1) * np.outer(u[:, 0], vt[0])


def zeros(params):
    return jax.tree.map(jnp.zeros_like, params)


@pytest.mark.parametrize("name", NETWORKS)
def test_adds_the_gradient_of_its_penalty_once_the_vectors_are_found(name):
    network = NETWORKS[name]()
    tx = swr_optax.spectral_regularization(0.3, network.plan)
    state = tx.init(network.params)
    update = jax.jit(tx.update)
    for _ in range(1000):
        found, state = update(zeros(network.params), state, network.params)
    pulls = weights_of(name, found)
    for layer, weight in weights_of(name, network.params).items():
        np.testing.assert_allclose(
            pulls[layer], 0.3 * gradient_of_weight(weight), rtol=1e-3, atol=1e-4
        )
    pulls = shifts_of(name, found)
    for layer, shift in shifts_of(name, network.params).items():
        expected = 0.3 * 4 * np.sum(shift**2) * shift
        np.testing.assert_allclose(pulls[layer], expected, rtol=1e-5)


def test_one_power_iteration_a_step():
    network = NETWORKS["mlp"]()
    tx = swr_optax.spectral_regularization(0.3, network.plan)
    state = tx.init(network.params)
    names = ["first", "second"]
    rights = [np.asarray(v, np.float64)[0] for v in state.vectors]
    for step in range(2):
        params = jax.tree.map(lambda p, k=step: (1 + k) * p, network.params)
        found, state = tx.update(zeros(params), state, params)
        pulls = weights_of("mlp", found)
        for k, layer in enumerate(names):
            w = weights_of("mlp", params)[layer]
            left = w @ rights[k] / np.linalg.norm(w @ rights[k])
            rights[k] = w.T @ left / np.linalg.norm(w.T @ left)
            sigma = left @ w @ rights[k]
            np.testing.assert_allclose(
                pulls[layer],
                0.3 * 4 * sigma * (sigma**2 - 1) * np.outer(left, rights[k]),
                rtol=1e-5,
                atol=1e-6,
            )
            np.testing.assert_allclose(state.vectors[k][0], rights[k], rtol=1e-5)


def test_descent_leads_to_singular_values_of_one_and_no_bias():
    network = NETWORKS["convolutional"]()
    tx = optax.chain(
        swr_optax.spectral_regularization(1.0, network.plan), optax.sgd(0.02)
    )

    @jax.jit
    def step(params, state):
        moves, state = tx.update(zeros(params), state, params)
        return optax.apply_updates(params, moves), state

    params, state = network.params, tx.init(network.params)
    for _ in range(500):
        params, state = step(params, state)
    weights = weights_of("convolutional", params)
    for layer in ("conv", "dense"):
        np.testing.assert_allclose(np.linalg.norm(weights[layer], 2), 1, atol=1e-2)
    np.testing.assert_allclose(np.abs(weights["norm"]).max(), 1, atol=1e-2)
    for shift in shifts_of("convolutional", params).values():
        assert np.linalg.norm(shift) < 0.3


def test_a_weight_of_zeros_is_not_pulled():
    network = NETWORKS["mlp"]()
    params = zeros(network.params)
    tx = swr_optax.spectral_regularization(0.3, network.plan)
    found, state = tx.update(params, tx.init(params), params)
    jax.tree.map(np.testing.assert_array_equal, found, params)
    assert np.isfinite(state.vectors[0]).all()


def test_keys_draw_other_vectors():
    network = NETWORKS["mlp"]()
    first, again, other, by_key = (
        swr_optax.spectral_regularization(0.3, network.plan, key=key).init(
            network.params
        )
        for key in (0, 0, 1, jax.random.key(0))
    )
    np.testing.assert_array_equal(first.vectors[0], again.vectors[0])
    np.testing.assert_array_equal(first.vectors[0], by_key.vectors[0])
    assert (first.vectors[0] != other.vectors[0]).any()

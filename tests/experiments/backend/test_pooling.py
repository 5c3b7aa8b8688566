"""Pooling against Flax's own, in each form that a backend has."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.backend.pooling import max_pool
from experiments.models import CNN
from experiments.models._layers import conv_max_pool


@pytest.mark.parametrize("side", [8, 9])
def test_pooling_is_flaxs(side):
    x = jax.random.normal(jax.random.key(0), (3, side, side, 2))
    np.testing.assert_array_equal(max_pool(x), nn.max_pool(x, (2, 2), (2, 2)))


def test_the_gradient_of_pooling_survives_the_compiler():
    """It may compute what is pooled anew, and round it otherwise than before."""
    network = CNN(classes=4, batch_norm=True)
    images = np.random.default_rng(0).normal(size=(32, 16, 16, 1))
    variables = network.init(jax.random.key(0), np.float32(images))

    @jax.jit
    def gradient(params, images):
        def value(params):
            logits, _ = network.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats", "activations", "features"],
            )
            return jnp.square(logits).mean()

        return jax.grad(value)(params)

    ours = gradient(variables["params"], np.float32(images))
    with jax.enable_x64(True):
        params = jax.tree.map(np.float64, variables["params"])
        exact = jax.tree.map(np.float32, gradient(params, images))
    chex.assert_trees_all_close(ours, exact, rtol=1e-3, atol=1e-5)


class Pooled(nn.Module):
    size: int

    @nn.compact
    def __call__(self, x):
        return conv_max_pool(x, 4, self.size)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("shape", [(8, 8), (9, 9), (10, 7)])
def test_a_pooled_convolution_is_a_convolution_and_pooling(
    shape, size, backend, monkeypatch
):
    """And so are its gradients; the borders that pooling drops have none."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    x = jax.random.normal(jax.random.key(0), (3, *shape, 2))
    variables = Pooled(size).init(jax.random.key(1), x)
    assert set(variables["params"]) == {"Conv_0"}

    def pooled(params, x):
        return Pooled(size).apply({"params": params}, x)

    def in_turn(params, x):
        conv = nn.Conv(4, (size, size), padding=1)
        return nn.max_pool(conv.apply({"params": params["Conv_0"]}, x), (2, 2), (2, 2))

    params = variables["params"]
    ours, pull = jax.vjp(pooled, params, x)
    theirs, pull_theirs = jax.vjp(in_turn, params, x)
    chex.assert_trees_all_close(ours, theirs, atol=1e-6)
    toward = jax.random.normal(jax.random.key(2), ours.shape)
    chex.assert_trees_all_close(pull(toward), pull_theirs(toward), atol=1e-5)

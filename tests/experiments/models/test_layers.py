"""Layers against Flax's own and against formulas."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.models import CNN
from experiments.models._layers import batch_norm, conv_max_pool, max_pool


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


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("shape", [(8, 8), (9, 9), (10, 7)])
def test_a_pooled_convolution_is_a_convolution_and_pooling(shape, size):
    """And so are its gradients; the borders that pooling drops have none."""
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


class Normalized(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return batch_norm(x, train, None)


def test_normalisation_has_the_papers_constants():
    """Values so small that ε counts; a tenth of each batch's statistics is new."""
    x = 0.01 * jax.random.normal(jax.random.key(0), (5, 4, 4, 2)) + 0.02
    model = Normalized()
    variables = model.init(jax.random.key(0), x, False)
    found, updated = model.apply(variables, x, True, mutable=["batch_stats"])
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    expected = (x - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    stats = updated["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * variance, rtol=1e-6)
    np.testing.assert_allclose(model.apply(variables, x, False), x, rtol=1e-4)

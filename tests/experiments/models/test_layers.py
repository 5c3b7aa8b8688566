"""Layers against formulas."""

import flax.linen as nn
import jax
import numpy as np

from experiments.models._layers import batch_norm


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

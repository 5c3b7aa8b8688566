"""Layers against Flax's own."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from experiments.models._layers import max_pool


@pytest.mark.parametrize("side", [8, 9])
def test_pooling_is_flaxs(side):
    x = jax.random.normal(jax.random.key(0), (3, side, side, 2))
    np.testing.assert_array_equal(max_pool(x), nn.max_pool(x, (2, 2), (2, 2)))

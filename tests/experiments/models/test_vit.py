"""What only the vision transformer has."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.models import ViT
from experiments.models.vit import patches
from networks import images
import paper_rules

MODEL = ViT(10, width=24, depth=1)


@functools.cache
def initial():
    return jax.jit(MODEL.init)(jax.random.key(0, impl="rbg"), images(1))


def test_patches_are_squares_row_by_row():
    x = jax.random.normal(jax.random.key(0), (2, 8, 12, 3))
    found = patches(x, 4)
    assert found.shape == (2, 6, 48)
    for k in range(6):
        row, column = 4 * (k // 3), 4 * (k % 3)
        square = x[:, row : row + 4, column : column + 4]
        np.testing.assert_array_equal(found[:, k], square.reshape(2, -1))


def test_every_patch_counts():
    variables = initial()
    slope = jax.jit(jax.grad(lambda x: MODEL.apply(variables, x).sum()))(images(1))
    assert (jnp.abs(patches(slope, 4)).max(-1) > 0).all()


def test_no_weight_starts_without_a_norm():
    for path, array in paper_rules.flat(initial()["params"]).items():
        if path.endswith("bias"):
            np.testing.assert_array_equal(array, 0)
        elif path.endswith("scale"):
            np.testing.assert_array_equal(array, 1)
        else:
            slack = 3 / array.size**0.5
            np.testing.assert_allclose(array.std(), 0.02, rtol=slack)
            assert abs(array.mean()) < 0.04 * slack

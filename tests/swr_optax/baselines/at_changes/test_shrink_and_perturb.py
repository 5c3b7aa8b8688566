"""Shrink and perturb at a change of data, against its formula."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest

import swr_optax


def test_shrink_and_perturb_goes_a_fraction_of_the_way():
    found = swr_optax.shrink_and_perturb(
        {"w": jnp.array([1.0, 4.0])}, {"w": jnp.array([2.0, 0.0])}, 0.25
    )
    np.testing.assert_allclose(found["w"], [1.25, 3.0])


@pytest.mark.parametrize("coefficient", [0.25, jnp.float32(0.25), np.float64(0.25)])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_keeps_types(dtype, coefficient):
    params = {"w": jnp.full(4, 2, dtype)}
    start = {"w": jnp.zeros(4, dtype)}
    moved = swr_optax.shrink_and_perturb(params, start, coefficient)
    chex.assert_trees_all_equal(moved, {"w": jnp.full(4, 1.5, dtype)})
    chex.assert_trees_all_equal_dtypes(moved, params)


def test_a_coefficient_above_one_is_named():
    with pytest.raises(ValueError, match=r"must be from 0 to 1, not 1\.5"):
        swr_optax.shrink_and_perturb(jnp.ones(1), jnp.ones(1), 1.5)


@pytest.mark.parametrize("coefficient", ["0.1", None, [0.1], 1j, True])
def test_coefficients_of_other_types_are_named(coefficient):
    message = "^coefficient must be a number from 0 to 1, not "
    with pytest.raises(TypeError, match=message):
        swr_optax.shrink_and_perturb(jnp.ones(1), jnp.ones(1), coefficient)

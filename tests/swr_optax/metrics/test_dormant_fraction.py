"""Dormant units against the definition in loops."""

from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from networks import images, network
from swr_optax.metrics import dormant_fraction


def by_definition(activations, threshold):
    units = activations.shape[-1]
    scores = [np.mean(np.abs(activations[..., unit])) for unit in range(units)]
    average = sum(scores) / units
    dormant = [score / average <= threshold for score in scores]
    return sum(dormant) / units


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.sampled_from([0, 0.025, 0.1, 1]))
@pytest.mark.parametrize("shape", [(16, 12), (4, 5, 5, 12)])
def test_it_is_the_definition(shape, seed, threshold):
    random = np.random.default_rng(seed)
    activations = np.maximum(random.normal(size=shape), 0)
    activations *= random.choice([0, 0.03, 0.2, 1], size=shape[-1])
    activations[0, ..., 0] = 1  # Not all are dead.
    found = dormant_fraction(jnp.float32(activations), threshold)
    np.testing.assert_allclose(found, by_definition(activations, threshold), rtol=1e-6)


def test_units_that_only_differ_in_sign_are_alive():
    activations = jnp.array([[1.0, 1.0], [-1.0, 1.0]])  # One of mean zero.
    assert dormant_fraction(activations) == 0


def test_a_layer_of_zeros_is_dead():
    assert dormant_fraction(jnp.zeros((4, 3))) == 1
    assert dormant_fraction(jnp.zeros((4, 3)), 0.1) == 1


def test_what_is_not_a_number_is_neither_dead_nor_alive():
    activations = jnp.zeros((4, 3)).at[1, 2].set(jnp.nan)
    assert jnp.isnan(dormant_fraction(activations))
    assert jnp.isnan(dormant_fraction(activations, 0.1))


def test_units_of_a_real_network_die_with_a_large_negative_bias():
    params = dict(network("mlp").params)
    layer = params["Dense_0"]
    x = images(64).reshape(64, -1)

    def hidden(bias):
        return jax.nn.relu(x @ layer["kernel"] + bias)

    alive = dormant_fraction(hidden(layer["bias"]))
    assert alive < 0.5
    killed = layer["bias"].at[:75].set(-100)
    assert 0.75 <= dormant_fraction(hidden(killed)) < 1


def test_it_jits_and_vmaps_over_activations_and_thresholds():
    activations = jnp.abs(jax.random.normal(jax.random.key(0), (3, 8, 6)))
    activations = activations.at[1, :, :3].set(0)
    thresholds = jnp.array([0.0, 0.0, 1.0])
    found = jax.jit(jax.vmap(dormant_fraction))(activations, thresholds)
    expected = map(by_definition, np.asarray(activations), thresholds)
    np.testing.assert_allclose(found, list(expected), rtol=1e-6)

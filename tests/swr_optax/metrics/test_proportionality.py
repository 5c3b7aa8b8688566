"""The deviation from the best multiple, against NumPy's least squares."""

from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from networks import images, random_network
import swr_optax
from swr_optax.metrics import proportionality_error


def draw(seed, shape=(8, 3)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), noise=st.floats(1e-3, 10))
def test_it_is_the_deviation_from_the_least_squares_multiple(seed, noise):
    old = draw(seed)
    new = -1.7 * old + noise * draw(seed + 1)
    (constant,), *_ = np.linalg.lstsq(old.reshape(-1, 1), new.ravel())
    expected = np.abs(new - constant * old).max() / np.abs(constant * old).max()
    np.testing.assert_allclose(proportionality_error(old, new), expected, rtol=1e-3)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), constant=st.floats(1e-6, 1e6))
def test_multiples_deviate_by_rounding(seed, constant):
    old = draw(seed, (4, 2, 5))
    assert proportionality_error(old, jnp.float32(constant) * old) < 1e-6
    assert proportionality_error(old, jnp.float32(-constant) * old) < 1e-6


def test_zeros():
    zeros, ones = jnp.zeros((2, 2)), jnp.ones((2, 2))
    assert proportionality_error(zeros, zeros) == 0
    assert proportionality_error(zeros, ones) == jnp.inf
    assert proportionality_error(ones, zeros) == 0
    assert proportionality_error(jnp.eye(2), 1 - jnp.eye(2)) == jnp.inf


@pytest.mark.parametrize("number", [jnp.nan, jnp.inf])
def test_what_is_not_finite_is_not_hidden(number):
    old = jnp.array([[1.0, number], [2.0, 3.0]])
    assert jnp.isnan(proportionality_error(old, old))
    assert jnp.isnan(proportionality_error(jnp.ones((2, 2)), old))


def test_halves_are_compared_in_float32():
    old = jnp.full(5000, 3, jnp.float16)  # Whose squares overflow a float16.
    assert proportionality_error(old, 2 * old) == 0
    assert proportionality_error(old, old).dtype == jnp.float32


def test_complex_outputs():
    old = jnp.array([1 + 1j, 2 - 1j])
    assert proportionality_error(old, (0.3 - 2j) * old) < 1e-6
    assert proportionality_error(old, old.conj()) > 0.1


def test_it_agrees_with_the_check_of_a_plan():
    """For one network: rescaled by a plan, and with its biases left behind."""
    net = random_network("mlp")
    plan, x = net.plan(), images(64)
    rescaled = swr_optax.rescale(net.params, jnp.full(3, -0.3), plan)
    old, new = (net.evaluate(p, net.stats, x) for p in (net.params, rescaled))
    assert proportionality_error(old, new) < 1e-5
    forgetful = {
        module: {"kernel": leaf["kernel"], "bias": net.params[module]["bias"]}
        for module, leaf in rescaled.items()
    }
    assert proportionality_error(old, net.evaluate(forgetful, net.stats, x)) > 1e-2


def test_it_jits_and_vmaps():
    old, new = draw(0, (3, 8, 2)), draw(1, (3, 8, 2))
    found = jax.jit(jax.vmap(proportionality_error))(old, new)
    one_by_one = [proportionality_error(*pair) for pair in zip(old, new, strict=True)]
    np.testing.assert_allclose(found, one_by_one, rtol=1e-5)

"""Effective rank against NumPy and against matrices of which it is plain."""

from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from swr_optax.metrics import effective_rank


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize(("rows", "dims"), [(12, 8), (3, 8), (1, 4), (4, 1)])
def test_it_is_numpys(rows, dims, seed):
    features = np.random.default_rng(seed).normal(size=(rows, dims))
    eigenvalues = np.linalg.eigvalsh(features @ features.T).clip(0)
    shares = np.sqrt(eigenvalues) / np.sqrt(eigenvalues).sum()
    entropy = -sum(share * np.log(share) for share in shares if share > 1e-6)
    found = effective_rank(jnp.float32(features))
    np.testing.assert_allclose(found, np.exp(entropy), rtol=1e-3)
    assert 0.999 < found < 1.001 * min(rows, dims)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), size=st.floats(1e-3, 1e3))
@pytest.mark.parametrize("dims", [1, 3, 8])
def test_orthonormal_columns_count_and_their_size_does_not(dims, seed, size):
    square = np.random.default_rng(seed).normal(size=(10, dims))
    columns, _ = np.linalg.qr(square)
    found = effective_rank(jnp.float32(size * columns))
    np.testing.assert_allclose(found, dims, rtol=1e-4)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_multiples_of_one_vector_have_rank_one(seed):
    random = np.random.default_rng(seed)
    features = np.outer(random.normal(size=9), random.normal(size=5))
    np.testing.assert_allclose(effective_rank(jnp.float32(features)), 1, rtol=1e-4)


def test_zeros_have_rank_zero():
    assert effective_rank(jnp.zeros((4, 3))) == 0


def test_halves_are_decomposed_in_float32():
    found = effective_rank(jnp.eye(3, dtype=jnp.bfloat16))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, 3, rtol=1e-6)


def test_it_jits_and_vmaps():
    features = jax.random.normal(jax.random.key(0), (3, 8, 4))
    features = features.at[1].set(1).at[2].set(0)
    found = jax.jit(jax.vmap(effective_rank))(features)
    expected = [effective_rank(one) for one in features]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(found[1:], [1, 0], atol=1e-4)

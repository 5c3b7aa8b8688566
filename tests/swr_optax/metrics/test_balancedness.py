"""Saul's algorithm against loops in NumPy, and what it must leave as it is."""

import itertools

import chex
from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from networks import images, network
from paper_rules import balanced, pq_norm
from swr_optax.metrics import balancedness, smallest_equivalent

WIDTHS = (4, 6, 5, 3)


def chain(seed, widths=WIDTHS, spread=1.0):
    """Kernels and biases; units' weights differ in size by about exp(spread)."""
    random = np.random.default_rng(seed)
    weights = [
        random.normal(size=shape) * np.exp(spread * random.normal(size=shape[1]))
        for shape in itertools.pairwise(widths)
    ]
    biases = [random.normal(size=width) for width in widths[1:]]
    return jax.tree.map(jnp.float32, (weights, biases))


def outputs(weights, biases, x):
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        x = jax.nn.leaky_relu(x @ weight + bias)
    return x @ weights[-1] + biases[-1]


def trained_like():
    """The paper's MLP, some units of which have grown."""
    params = network("mlp").params
    weights = [params[f"Dense_{k}"]["kernel"] for k in range(3)]
    sizes = jnp.exp(jax.random.normal(jax.random.key(1), (100,)))
    return [weights[0] * sizes, weights[1] * sizes[::-1], weights[2]]


@pytest.mark.parametrize(("p", "q"), [(2, 2), (1, 1), (1, 2), (3, 1.5)])
def test_it_is_the_papers_algorithm(p, q):
    weights, _ = chain(0)
    expected = balanced([w.T for w in weights], p, q)
    found = smallest_equivalent(weights, p=p, q=q)
    for mine, theirs in zip(found.weights, expected, strict=True):
        np.testing.assert_allclose(mine.T, theirs, rtol=1e-3, atol=1e-6)
    ratio = pq_norm(expected, p, q) / pq_norm([w.T for w in weights], p, q)
    assert ratio < 0.95
    np.testing.assert_allclose(balancedness(weights, p=p, q=q), ratio, rtol=1e-5)


def test_rounds_and_tolerance_bound_the_work():
    weights, _ = chain(1)
    expected = balanced([w.T for w in weights], rounds=3)
    found = smallest_equivalent(weights, rounds=3)
    chex.assert_trees_all_close(
        [w.T for w in found.weights], jax.tree.map(jnp.float32, expected), rtol=1e-5
    )
    # A tolerance that no round misses ends the loop after the first.
    chex.assert_trees_all_equal(
        smallest_equivalent(weights, tolerance=10.0),
        smallest_equivalent(weights, rounds=1),
    )


def test_the_smallest_is_stationary():
    """For p = q = 2 a balanced unit has as much coming in as going out."""
    weights = smallest_equivalent(trained_like(), tolerance=1e-6, rounds=1000).weights
    for before, after in itertools.pairwise(weights):
        incoming = jnp.linalg.norm(before, axis=0)
        np.testing.assert_allclose(incoming, jnp.linalg.norm(after, axis=1), rtol=1e-4)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), spread=st.floats(0, 3))
def test_the_function_stays_and_the_norm_shrinks(seed, spread):
    weights, biases = chain(seed, spread=spread)
    x = jnp.float32(np.random.default_rng(seed).normal(size=(7, WIDTHS[0])))
    smallest = smallest_equivalent(weights, biases)
    before, after = outputs(weights, biases, x), outputs(*smallest, x)
    np.testing.assert_allclose(after, before, atol=1e-4 * jnp.abs(before).max())
    ratio = balancedness(weights)
    assert 0 < ratio <= 1
    np.testing.assert_allclose(
        pq_norm(smallest.weights), ratio * pq_norm(weights), rtol=1e-4
    )
    again = balancedness(smallest.weights)
    assert 1 - 1e-4 < again <= 1


def test_a_real_network_keeps_its_outputs():
    params = network("mlp").params
    weights = trained_like()
    biases = [params[f"Dense_{k}"]["bias"] for k in range(3)]
    smallest = smallest_equivalent(weights, biases)
    x = images(32).reshape(32, -1)
    np.testing.assert_allclose(
        outputs(*smallest, x), outputs(weights, biases, x), rtol=1e-4, atol=1e-4
    )
    assert balancedness(weights) < 0.8


def test_units_without_weights_are_left_alone():
    weights, biases = chain(2)
    weights[0] = weights[0].at[:, 0].set(0)  # Nothing comes in.
    weights[1] = weights[1].at[1].set(0)  # Nothing goes out.
    smallest = smallest_equivalent(weights, biases)
    chex.assert_tree_all_finite(smallest)
    chex.assert_trees_all_equal(smallest.weights[0][:, :2], weights[0][:, :2])
    assert smallest.biases[0][0] == biases[0][0]
    assert 0 < balancedness(weights) < 1
    assert balancedness([jnp.zeros((3, 2)), jnp.zeros((2, 1))]) == 1


def test_an_output_that_takes_nothing_counts_for_nothing():
    weights, _ = chain(2)
    with_it = [*weights[:2], weights[2].at[:, 0].set(0)]
    without_it = [*weights[:2], weights[2][:, 1:]]
    np.testing.assert_allclose(
        balancedness(with_it), balancedness(without_it), rtol=1e-6
    )


def test_layers_without_a_bias_have_none_after():
    weights, biases = chain(3)
    found = smallest_equivalent(weights, [None, *biases[1:]])
    assert found.biases[0] is None
    # Nothing divides what the last layer gives, so its bias stays.
    chex.assert_trees_all_equal(found.biases[-1], biases[-1])
    assert smallest_equivalent(weights).biases == [None] * 3
    assert balancedness(weights[:1]) == 1  # No hidden unit, nothing to rescale.


def test_halves_keep_their_type_and_overflow_nothing():
    weights = [jnp.full((3, 2), 1e3, jnp.float16), jnp.full((2, 1), 1, jnp.float16)]
    assert [w.dtype for w in smallest_equivalent(weights).weights] == [jnp.float16] * 2
    found = balancedness(weights)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, (2 * 3**0.5 * 2e3 / 6e6) ** 0.5, rtol=1e-3)


def test_it_jits_and_vmaps_over_seeds():
    chains = [chain(seed)[0] for seed in range(4)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *chains)
    found = jax.jit(jax.vmap(balancedness))(stacked)
    np.testing.assert_allclose(found, [balancedness(c) for c in chains], rtol=1e-6)
    assert len(set(found.tolist())) == 4


@pytest.mark.parametrize(
    "shapes", [[], [(3, 2), (3, 1)], [(3, 3, 1, 4)], [(3,)]], ids=str
)
def test_what_is_no_chain_is_refused(shapes):
    with pytest.raises(ValueError, match="not \\(fan_in, fan_out\\) of dense layers"):
        balancedness([jnp.ones(shape) for shape in shapes])


def test_float32_stays_float32_beside_float64():
    with jax.enable_x64(True):
        weights = [jnp.ones((3, 4), jnp.float32), jnp.ones((4, 2), jnp.float32)]
        assert balancedness(weights).dtype == jnp.float32

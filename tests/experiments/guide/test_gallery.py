"""The gallery's plans keep their networks' functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.guide.gallery import EXAMPLES, GALLERY, VECTORS
import swr_optax


def draw(shapes, seed=0):
    """Normal numbers, biases too, large next to the ε of normalisations."""
    random = np.random.default_rng(seed)

    def normal(leaf):
        if jnp.issubdtype(leaf.dtype, jnp.integer):
            return random.integers(0, 32, leaf.shape)
        fan_in = leaf.size / leaf.shape[-1] if len(leaf.shape) > 1 else 1
        size = 30 if len(leaf.shape) == 4 else 3  # Convolutions feed BatchNorms.
        return np.float32(size * fan_in**-0.5 * random.normal(size=leaf.shape))

    return jax.tree.map(normal, shapes)


def measured(network, plan):
    """The check of a plan on random variables and inputs."""
    params, stats = network.variables
    return swr_optax.check(
        plan,
        jax.jit(network.train),
        draw(params),
        draw(network.inputs, seed=1),
        stats=jax.tree.map(np.abs, draw(stats, seed=2)),
    )


@pytest.mark.parametrize("name", GALLERY)
def test_the_function_is_kept(name):
    network = GALLERY[name]
    plan = network.plan("function")
    assert not plan.unmet
    result = measured(network, plan)
    assert result.deviation < 1e-5
    assert result.agreement == 1
    assert not any(leaf.role == "unused" for leaf in plan.leaves)


@pytest.mark.parametrize("name", [name for name in GALLERY if name != "mlp"])
def test_the_bound_on_the_norms_has_its_price(name):
    network = GALLERY[name]
    plan = network.plan("norms")
    assert plan.unmet
    np.testing.assert_array_equal(
        plan.exponents[list(plan.weights)], np.eye(len(plan.layers))
    )
    if not network.keep_outputs:  # Else the constants are kept, but are not one.
        assert measured(network, plan).deviation > 1e-2


def test_the_critic_is_kept_and_the_actor_is_not():
    plan = GALLERY["actor-critic"].plan("function")
    stays = dict(zip(plan.outputs, ~plan.output_exponents.any(axis=1), strict=True))
    assert stays == {"policy": False, "value": True}


def test_tied_embeddings_are_one_layer():
    plan = GALLERY["gpt"].plan("norms")
    roles = {leaf.path: leaf.role for leaf in plan.leaves}
    assert roles["embed/embedding"] == "weight"
    assert roles["position/embedding"] == "shift"
    assert plan.output_exponents[0][0] == 1


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_can_be_checked(name):
    fn, params = EXAMPLES[name]
    plan = swr_optax.plan_rescaling(fn, params, VECTORS, priority="function")
    result = swr_optax.check(plan, jax.jit(fn), draw(params), draw(VECTORS, seed=1))
    assert result.deviation < 1e-5

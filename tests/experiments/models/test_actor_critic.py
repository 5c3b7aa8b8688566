"""Actors and critics, and what their plans keep."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.models import AGENT_MODELS, HEADS
from experiments.models.actor_critic import windows
from experiments.training.network import Network
import swr_optax

VECTORS = (8, 4)
IMAGES = (8, 10, 10, 6)


def make(name, **options):
    entry = AGENT_MODELS[name]
    shape = IMAGES if entry.images else VECTORS
    network = Network(
        entry.build(3, **options),
        jax.ShapeDtypeStruct(shape, jnp.float32),
        heads=HEADS,
        kept=("value",),
    )
    return network, jax.random.normal(jax.random.key(1), shape)


def test_a_dense_layer_on_windows_is_a_convolution():
    images = jax.random.normal(jax.random.key(0), (2, 5, 7, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))
    wanted = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    found = windows(images) @ kernel.reshape(-1, 4)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("name", AGENT_MODELS)
def test_logits_and_values_have_their_shapes(name, layer_norm):
    network, observations = make(name, layer_norm=layer_norm)
    params, _ = network.init(jax.random.key(0))
    outputs = network.predict(params, {}, observations)
    chex.assert_shape(outputs.policy, (8, 3))
    chex.assert_shape(outputs.value, (8,))
    norms = [p for p in params if p.endswith("norm")]
    assert bool(norms) == layer_norm
    groups = {layer.path: layer.group for layer in network.plan.layers}
    classifier = [path for path, group in groups.items() if group == "classifier"]
    assert classifier == ["policy/kernel", "value/kernel"]


def test_a_plan_of_both_is_that_of_the_actor_and_that_of_the_critic():
    """Apart, the actor and the critic have plans of their own in it."""
    network, observations = make("actor_critic_small")
    params, _ = network.init(jax.random.key(0))
    both = network.plan
    rows = dict(zip(both.leaf_paths, both.exponents, strict=True))
    columns = [layer.path for layer in both.layers]
    for output, first in (("policy", "actor"), ("value", "critic")):

        def alone(params, x, output=output):
            outputs = (
                AGENT_MODELS["actor_critic_small"].build(3).apply({"params": params}, x)
            )
            return getattr(outputs, output)

        mine = {k: v for k, v in params.items() if k.startswith((first, output))}
        other = {k: v for k, v in params.items() if k not in mine}
        plan = swr_optax.plan_rescaling(
            lambda p, x, other=other, alone=alone: alone({**other, **p}, x),
            mine,
            observations,
        )
        places = [columns.index(layer.path) for layer in plan.layers]
        for path, row in zip(plan.leaf_paths, plan.exponents, strict=True):
            np.testing.assert_allclose(rows[path][places], row, atol=1e-9)
            rest = np.delete(rows[path], places)
            np.testing.assert_allclose(rest, 0, atol=1e-9)


@pytest.mark.parametrize("name", ["actor_critic_small", "actor_critic_small_shared"])
def test_a_kept_value_stays_and_logits_are_scaled(name):
    network, observations = make(name)
    params, _ = network.init(jax.random.key(0))
    before = network.predict(params, {}, observations)
    scalers = jnp.linspace(-0.3, -0.1, len(network.plan.layers))

    def after(plan):
        rescaled = swr_optax.rescale(params, scalers, plan)
        return network.predict(rescaled, {}, observations)

    function = after(network.function_plan)
    np.testing.assert_allclose(function.value, before.value, rtol=1e-4, atol=1e-6)
    ratio = function.policy / before.policy
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)
    assert ratio[0, 0] < 0.95
    kept = after(network.kept_plan)
    chex.assert_trees_all_close(kept, before, rtol=1e-3, atol=1e-5)
    norms = after(network.plan)
    assert (jnp.abs(norms.value) < 0.9 * jnp.abs(before.value)).all()

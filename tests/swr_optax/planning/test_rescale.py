"""The bare rescaling against the paper's loop over layers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from networks import random_network
import paper_rules
import swr_optax


@pytest.mark.parametrize("name", ["mlp", "cnn", "cnn_bn"])
def test_is_the_papers_rule_for_any_scalers(name):
    net = random_network(name)
    plan = net.plan()
    log_scalers = jax.random.normal(jax.random.key(0), (len(plan.layers),))
    found = swr_optax.rescale(net.params, log_scalers, plan)
    expected, _ = paper_rules.scale(
        paper_rules.flat(net.params, net.stats), net.layers, np.exp(log_scalers)
    )
    for path, array in paper_rules.flat(found).items():
        np.testing.assert_allclose(array, expected[path], rtol=2e-6)


def test_keeps_types_and_does_not_touch_what_does_not_scale():
    net = random_network("mlp")
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), net.params)
    params["Dense_9"] = {"kernel": jnp.ones(3)}
    plan = swr_optax.plan_rescaling(
        lambda p, x: net.evaluate(p, {}, x), params, jnp.ones((1, 32, 32, 1))
    )
    scaled = swr_optax.rescale(params, jnp.full(3, 0.1), plan)
    chex.assert_trees_all_equal_dtypes(scaled, params)
    assert scaled["Dense_9"]["kernel"] is params["Dense_9"]["kernel"]


def test_scalers_of_another_shape_are_refused():
    net = random_network("mlp")
    with pytest.raises(ValueError, match=r"log_scalers must have shape \(3,\).*\(2,\)"):
        swr_optax.rescale(net.params, jnp.zeros(2), net.plan())

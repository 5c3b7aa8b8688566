"""Resets of the classifier, and of everything."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from networks import network
import swr_optax


def test_reset_head_resets_the_classifier_and_nothing_else():
    net, start = network("cnn", 0), network("cnn", 1).params
    found = swr_optax.reset_head(net.params, start, net.plan())
    for module in net.params:
        source = start if module.startswith("Dense") else net.params
        chex.assert_trees_all_equal(found[module], source[module])


def test_reset_head_goes_by_each_slice_of_a_stacked_leaf():
    params = {"blocks": {"w": jnp.ones((3, 4, 4)), "b": jnp.ones((3, 4))}}

    def apply(p, x):
        def block(x, p):
            return jax.nn.relu(x @ p["w"] + p["b"]), None

        return jax.lax.scan(block, x, p["blocks"])[0]

    plan = swr_optax.plan_rescaling(
        apply,
        params,
        jnp.ones((2, 4)),
        group_fn=lambda path: "classifier" if path.endswith("[1]") else "feature",
    )
    start = jax.tree.map(jnp.zeros_like, params)
    found = swr_optax.reset_head(params, start, plan)["blocks"]
    np.testing.assert_array_equal(found["w"][:, 0, 0], [1, 0, 1])
    np.testing.assert_array_equal(found["b"][:, 0], [1, 0, 1])


def test_reset_head_needs_a_head():
    net = network("mlp")
    plan = net.plan(group_fn=lambda _: "all")
    with pytest.raises(ValueError, match="plan has no group 'classifier', only"):
        swr_optax.reset_head(net.params, net.params, plan)


def test_reset_all_resets_everything():
    net, start = network("mlp", 0), network("mlp", 1).params
    chex.assert_trees_all_equal(swr_optax.reset_all(net.params, start), start)

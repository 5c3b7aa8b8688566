"""Norms and growth against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from networks import network
import swr_optax
from swr_optax import metrics


def test_norms_are_numpys_in_network_order():
    net = network("cnn_bn")
    expected = [
        np.linalg.norm(np.float64(net.params[module][name]).ravel())
        for module, name in (layer.weight.split("/") for layer in net.layers)
    ]
    found = metrics.weight_norms(net.params, net.plan())
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_norms_of_stacked_weights_are_those_of_their_slices():
    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "blocks": {"w": jax.random.normal(keys[0], (5, 4, 4)), "b": jnp.ones((5, 4))},
        "a_head": jax.random.normal(keys[1], (4, 3)),  # First in tree order.
    }

    def apply(p, x):
        def block(x, p):
            return jax.nn.relu(x @ p["w"] + p["b"]), None

        return jax.lax.scan(block, x, p["blocks"])[0] @ p["a_head"]

    plan = swr_optax.plan_rescaling(apply, params, jnp.ones((2, 4)))
    expected = [np.linalg.norm(w) for w in [*params["blocks"]["w"], params["a_head"]]]
    np.testing.assert_allclose(metrics.weight_norms(params, plan), expected, rtol=1e-6)


def test_growth_is_the_ratio_of_norms():
    net = network("mlp")
    plan = net.plan()
    grown = jax.tree.map(lambda p: 3 * p, net.params)
    grown["Dense_1"] = net.params["Dense_1"]
    np.testing.assert_allclose(
        metrics.weight_growth(grown, net.params, plan), [3, 1, 3], rtol=1e-6
    )


def test_growth_from_nothing_is_one():
    net = network("mlp")
    start = {
        **net.params,
        "Dense_2": jax.tree.map(jnp.zeros_like, net.params["Dense_2"]),
    }
    np.testing.assert_allclose(
        metrics.weight_growth(net.params, start, net.plan())[2], 1
    )

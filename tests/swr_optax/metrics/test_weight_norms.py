"""Norms and growth against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from networks import network
from swr_optax import metrics


def test_norms_are_numpys_in_network_order():
    net = network("cnn_bn")
    expected = [
        np.linalg.norm(np.float64(net.params[module][name]).ravel())
        for module, name in (layer.weight.split("/") for layer in net.layers)
    ]
    found = metrics.weight_norms(net.params, net.plan())
    np.testing.assert_allclose(found, expected, rtol=1e-6)


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

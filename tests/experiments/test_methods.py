"""Each method does what it says, when it says."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.datasets import SOURCES
from experiments.methods import METHODS
from networks import network


def changed(name, coefficient=0.25):
    """Parameters before, after a change of data, and initially."""
    net = network("mlp")
    initial = network("mlp", seed=1).params
    after = METHODS[name].at_change(net.params, initial, coefficient, net.plan())
    return net.params, after, initial


@pytest.mark.parametrize("name", ["scratch", "vanilla", "l2", "l2_init", "swr"])
def test_some_do_nothing_at_a_change(name):
    before, after, _ = changed(name)
    chex.assert_trees_all_equal(before, after)


def test_shrink_and_perturb():
    before, after, initial = changed("shrink_and_perturb")
    expected = jax.tree.map(lambda p, p0: 0.75 * p + 0.25 * p0, before, initial)
    chex.assert_trees_all_close(after, expected, rtol=1e-6)


def test_head_reset():
    before, after, initial = changed("head_reset")
    chex.assert_trees_all_equal(after["Dense_2"], initial["Dense_2"])
    for kept in ("Dense_0", "Dense_1"):
        chex.assert_trees_all_equal(after[kept], before[kept])


def test_full_reset():
    _, after, initial = changed("full_reset")
    chex.assert_trees_all_equal(after, initial)


@pytest.mark.parametrize(
    ("name", "penalty"),
    [
        ("l2", lambda params, _: params),
        (
            "l2_init",
            lambda params, initial: jax.tree.map(jnp.subtract, params, initial),
        ),
    ],
)
def test_penalties_add_their_gradient_before_the_optimizer(name, penalty):
    net, coefficient = network("mlp"), 0.3
    tx = METHODS[name].optimizer(optax.sgd(1.0), coefficient, net.plan())
    initial = network("mlp", seed=1).params
    grads = jax.tree.map(jnp.cos, net.params)
    updates, _ = tx.update(grads, tx.init(initial), net.params)
    pull = jax.grad(
        lambda p: coefficient / 2 * optax.tree.norm(penalty(p, initial), squared=True)
    )(net.params)
    expected = jax.tree.map(lambda g, h: -(g + h), grads, pull)
    chex.assert_trees_all_close(updates, expected, rtol=1e-5, atol=1e-7)


def test_swr_comes_after_the_optimizer():
    net = network("mlp")
    tx = METHODS["swr"].optimizer(optax.sgd(1.0), 0.5, net.plan())
    grads = jax.tree.map(jnp.negative, net.params)
    updates, _ = tx.update(grads, tx.init(net.params), net.params)
    np.testing.assert_allclose(
        updates["Dense_0"]["kernel"], 0.5 * net.params["Dense_0"]["kernel"], rtol=1e-5
    )


def test_coefficients_are_for_known_data_sets():
    for method in METHODS.values():
        assert set(method.coefficients) <= set(SOURCES)


def test_only_scratch_skips_the_warm_start():
    assert [name for name, m in METHODS.items() if not m.warm_start] == ["scratch"]

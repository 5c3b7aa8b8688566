"""The methods SWR is compared with, against their formulas."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from networks import network
import swr_optax


def test_l2_init_adds_the_gradient_of_its_penalty():
    params0 = {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(3)}
    params = jax.tree.map(lambda p: 2 * p + 1, params0)
    grads = jax.tree.map(jnp.cos, params)

    def penalty(params):
        distances = jax.tree.map(lambda p, p0: jnp.sum((p - p0) ** 2), params, params0)
        return 0.3 / 2 * sum(jax.tree.leaves(distances))

    tx = swr_optax.l2_init(0.3)
    found, _ = tx.update(grads, tx.init(params0), params)
    expected = jax.tree.map(jnp.add, grads, jax.grad(penalty)(params))
    chex.assert_trees_all_close(found, expected, rtol=1e-6)


def test_l2_init_needs_params():
    tx = swr_optax.l2_init(0.1)
    with pytest.raises(ValueError, match="requires the current value of parameters"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_l2_init_leads_back_to_the_start():
    params0 = {"w": jnp.ones(4)}
    tx = optax.chain(swr_optax.l2_init(1.0), optax.sgd(0.5))
    params, state = {"w": jnp.zeros(4)}, tx.init(params0)
    for _ in range(20):
        moves, state = tx.update({"w": jnp.zeros(4)}, state, params)
        params = optax.apply_updates(params, moves)
    np.testing.assert_allclose(params["w"], 1, rtol=1e-5)


def test_shrink_and_perturb_goes_a_fraction_of_the_way():
    found = swr_optax.shrink_and_perturb(
        {"w": jnp.array([1.0, 4.0])}, {"w": jnp.array([2.0, 0.0])}, 0.25
    )
    np.testing.assert_allclose(found["w"], [1.25, 3.0])


def test_reset_head_resets_the_classifier_and_nothing_else():
    net, start = network("cnn", 0), network("cnn", 1).params
    found = swr_optax.reset_head(net.params, start, net.plan())
    for module in net.params:
        source = start if module.startswith("Dense") else net.params
        chex.assert_trees_all_equal(found[module], source[module])


def test_reset_head_needs_a_head():
    net = network("mlp")
    plan = net.plan(group_fn=lambda _: "all")
    with pytest.raises(ValueError, match="plan has no group 'classifier', only"):
        swr_optax.reset_head(net.params, net.params, plan)


def test_reset_all_resets_everything():
    net, start = network("mlp", 0), network("mlp", 1).params
    chex.assert_trees_all_equal(swr_optax.reset_all(net.params, start), start)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: swr_optax.l2_init(-1.0), "must not be negative, not -1"),
        (
            lambda: swr_optax.shrink_and_perturb(jnp.ones(1), jnp.ones(1), 1.5),
            "must be from 0 to 1, not 1.5",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""The methods SWR is compared with, against their formulas."""

import functools

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
    with pytest.raises(ValueError, match="l2_init needs the parameters: call update"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_l2_inits_state_shares_no_array_with_the_parameters():
    params = {"w": jnp.ones(4), "b": jnp.ones(2)}
    tx = optax.chain(swr_optax.l2_init(0.1), optax.sgd(0.5))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state):
        moves, state = tx.update(params, state, params)
        return optax.apply_updates(params, moves), state

    for init in (tx.init, jax.jit(tx.init)):
        copied = jax.tree.map(jnp.copy, params)
        found, state = step(copied, init(copied))
        found, state = step(found, state)
        chex.assert_trees_all_equal(state[0].initial_params, params)
        np.testing.assert_allclose(found["w"], 0.275)


@pytest.mark.parametrize("coefficient", [0.25, jnp.float32(0.25), np.float64(0.25)])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_baselines_keep_types(dtype, coefficient):
    params = {"w": jnp.full(4, 2, dtype)}
    start = {"w": jnp.zeros(4, dtype)}
    moved = swr_optax.shrink_and_perturb(params, start, coefficient)
    tx = swr_optax.l2_init(coefficient)
    moves, state = tx.update(start, tx.init(start), params)
    chex.assert_trees_all_equal(moved, {"w": jnp.full(4, 1.5, dtype)})
    chex.assert_trees_all_equal(moves, {"w": jnp.full(4, 0.5, dtype)})
    chex.assert_trees_all_equal_dtypes(moved, moves, state.initial_params, params)


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


@pytest.mark.parametrize("coefficient", ["0.1", None, [0.1], 1j, True])
def test_coefficients_of_other_types_are_named(coefficient):
    message = "^coefficient must be a number from 0 (up|to 1), not "
    with pytest.raises(TypeError, match=message):
        swr_optax.l2_init(coefficient)
    with pytest.raises(TypeError, match=message):
        swr_optax.shrink_and_perturb(jnp.ones(1), jnp.ones(1), coefficient)


def test_a_coefficient_that_is_no_number_at_all_is_refused():
    with pytest.raises(ValueError, match="coefficient must not be negative, not nan"):
        swr_optax.l2_init(float("nan"))

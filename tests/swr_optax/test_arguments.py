"""Coefficients, schedules, groups and reset steps; and mistakes in them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax
from two_layers import norms_of, randomly, two_layers


def test_vmaps_over_the_coefficient():
    params, plan = two_layers()
    moves = randomly(params)

    def step(coefficient):
        tx = swr_optax.soft_weight_rescaling(coefficient, plan)
        return tx.update(moves, tx.init(params), params)[0]

    coefficients = jnp.array([0.0, 1e-3, 0.1, 1.0])
    together = jax.vmap(step)(coefficients)
    for k, coefficient in enumerate(coefficients):
        chex.assert_trees_all_close(
            jax.tree.map(lambda leaf, k=k: leaf[k], together),
            step(float(coefficient)),
            rtol=1e-5,
            atol=1e-7,
        )


def test_schedule_counts_steps_from_zero():
    params, plan = two_layers()
    schedule = optax.piecewise_constant_schedule(0.5, {2: 0.1})
    tx = swr_optax.soft_weight_rescaling(schedule, plan)
    state = tx.init(params)
    for k in range(4):
        rate = 0.5 if k < 2 else 0.05
        fixed = swr_optax.soft_weight_rescaling(rate, plan)
        moves = randomly(params, k)
        expected, _ = fixed.update(moves, state, params)
        rescaled, state = tx.update(moves, state, params)
        chex.assert_trees_all_close(rescaled, expected, rtol=1e-6)
        params = optax.apply_updates(params, rescaled)
    assert state.count == 4


def test_groups_have_coefficients_of_their_own():
    params, plan = two_layers()
    classifier = optax.constant_schedule(0.125)
    for feature in (0.5, np.float64(0.5), jnp.float32(0.5), lambda _: 0.5):
        tx = swr_optax.soft_weight_rescaling(
            {"classifier": classifier, "feature": feature}, plan
        )
        rescaled, _ = tx.update(params, tx.init(params), params)  # Doubles weights.
        np.testing.assert_allclose(
            norms_of(optax.apply_updates(params, rescaled)),
            norms_of(params) * [1.5, 1.875],
            rtol=1e-6,
        )


@pytest.mark.parametrize("coefficient", [-0.1, 1.5, float("nan"), jnp.float32(2)])
def test_refuses_coefficients_outside_the_unit_interval(coefficient):
    _, plan = two_layers()
    with pytest.raises(ValueError, match="coefficient must be from 0 to 1, not"):
        swr_optax.soft_weight_rescaling(coefficient, plan)
    with pytest.raises(ValueError, match=r"coefficient\['feature'\] must be from 0"):
        swr_optax.soft_weight_rescaling(
            {"feature": coefficient, "classifier": 0.1}, plan
        )


def test_refuses_groups_that_the_plan_does_not_have():
    _, plan = two_layers()
    with pytest.raises(
        ValueError, match=r"unknown \['head'\], missing \['classifier'\]"
    ):
        swr_optax.soft_weight_rescaling({"feature": 0.1, "head": 0.1}, plan)


def test_refuses_coefficients_with_a_shape():
    _, plan = two_layers()
    with pytest.raises(ValueError, match=r"must be a scalar, not of shape \(2,\)"):
        swr_optax.soft_weight_rescaling(jnp.ones(2), plan)


def test_refuses_negative_reset_steps():
    _, plan = two_layers()
    with pytest.raises(ValueError, match=r"reset_steps must not be negative: \[-1\]"):
        swr_optax.soft_weight_rescaling(0.1, plan, reset_steps=[-1])


def test_missing_params_are_asked_for():
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.1, plan)
    message = r"soft_weight_rescaling needs the parameters: call update\(updates, state"
    with pytest.raises(ValueError, match=message):
        tx.update(params, tx.init(params))


def test_refuses_other_parameters_and_lists_them():
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.1, plan)
    other = {"first": params["first"], "third": params["second"]}
    message = "missing second/b, second/w; surplus third/b, third/w"
    with pytest.raises(ValueError, match=message):
        tx.init(other)
    with pytest.raises(ValueError, match=message):
        tx.update(other, tx.init(params), other)


def test_refuses_parameters_of_another_shape():
    _, plan = two_layers()
    with pytest.raises(ValueError, match=r"first/b has shape \(9,\), not \(7,\)"):
        swr_optax.soft_weight_rescaling(0.1, plan).init(two_layers(hidden=9)[0])


def test_refuses_integer_parameters():
    params, plan = two_layers()
    params["first"]["b"] = params["first"]["b"].astype(jnp.int32)
    with pytest.raises(TypeError, match="parameter first/b has dtype int32"):
        swr_optax.soft_weight_rescaling(0.1, plan).init(params)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("0.1", "str"),
        (None, "NoneType"),
        ([0.1], "list"),
        (0.1 + 0j, "complex"),
        (True, "bool"),
        (np.bool_(True), "bool"),
        (jnp.complex64(1), "complex64"),
        (np.array("a"), "<U1"),
    ],
)
def test_refuses_coefficients_of_other_types(value, kind):
    _, plan = two_layers()
    start = r"must be a number from 0 to 1, a schedule, or a mapping .*, not "
    with pytest.raises(TypeError, match=f"^coefficient {start}{kind}"):
        swr_optax.soft_weight_rescaling(value, plan)
    groups = {"feature": value, "classifier": 0.1}
    with pytest.raises(TypeError, match=rf"^coefficient\['feature'\] {start}{kind}"):
        swr_optax.soft_weight_rescaling(groups, plan)


def test_refuses_a_traced_coefficient_with_a_shape():
    _, plan = two_layers()
    with pytest.raises(ValueError, match=r"must be a scalar, not of shape \(3,\)"):
        jax.eval_shape(
            lambda c: swr_optax.soft_weight_rescaling(c, plan).init(two_layers()[0]),
            jnp.ones(3),
        )


def test_refuses_a_schedule_of_arrays():
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(lambda _: jnp.ones(2), plan)
    message = r"coefficient's schedule must return a scalar, not shape \(2,\)"
    with pytest.raises(ValueError, match=message):
        tx.update(params, tx.init(params), params)


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [
        (3, TypeError, "reset_steps must be a list of steps, not int"),
        ("12", TypeError, "reset_steps must be a list of steps, not str"),
        (None, TypeError, "reset_steps must be a list of steps, not NoneType"),
        ([1.5], TypeError, "reset_steps must be whole numbers, not 1.5"),
        ([True], TypeError, "reset_steps must be whole numbers, not True"),
        (["1"], TypeError, "reset_steps must be whole numbers, not '1'"),
        ([[1]], TypeError, r"reset_steps must be whole numbers, not \[1\]"),
        ([2**31], ValueError, r"reset_steps must be below 2\*\*31"),
    ],
)
def test_refuses_reset_steps_that_are_no_steps(steps, error, message):
    _, plan = two_layers()
    with pytest.raises(error, match=message):
        swr_optax.soft_weight_rescaling(0.1, plan, reset_steps=steps)


def test_takes_steps_of_any_integer_type():
    params, plan = two_layers()
    for steps in (np.arange(2), jnp.arange(2), (np.int64(1),), range(3), {0}):
        swr_optax.soft_weight_rescaling(0.1, plan, reset_steps=steps).init(params)


@pytest.mark.parametrize(
    ("wild", "tame"),
    [(-3.0, 0.0), (7.0, 1.0), (float("nan"), 0.0), (float("inf"), 1.0)],
)
def test_schedules_and_traced_coefficients_are_clipped(wild, tame):
    params, plan = two_layers()
    moves = randomly(params)
    expected = swr_optax.soft_weight_rescaling(jnp.float32(tame), plan)
    expected = expected.update(moves, expected.init(params), params)

    def step(coefficient):
        tx = swr_optax.soft_weight_rescaling(coefficient, plan)
        return tx.update(moves, tx.init(params), params)

    for found in (
        step(lambda _: wild),
        step(lambda _: jnp.float32(wild)),
        step({"feature": lambda _: wild, "classifier": lambda _: jnp.float32(wild)}),
        jax.jit(step)(wild),
    ):
        chex.assert_tree_all_finite(found)
        chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reference", [jnp.inf, jnp.nan, 0.0])
def test_a_weight_without_a_finite_reference_is_left_alone(reference):
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.1, plan)
    state = tx.init(params)
    references = state.reference_norms.at[0].set(reference)
    moves = randomly(params)
    found, state = tx.update(moves, state._replace(reference_norms=references), params)
    # To a unit in the last place, in which parameters are when they have moved.
    chex.assert_trees_all_close(
        optax.apply_updates(params, found)["first"],
        optax.apply_updates(params, moves)["first"],
        rtol=2e-7,
    )
    chex.assert_tree_all_finite(found)
    assert state.log_scalers[0] == 0
    assert state.log_scalers[1] != 0

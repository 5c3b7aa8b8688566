"""Continual backpropagation against the authors' rule in NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax
from swr_optax.baselines.units._continual_backprop import outgoing_magnitude
from unit_networks import (
    POSITIONS,
    adam_step,
    cnn,
    drawn_from,
    forward_in_numpy,
    fresh,
    gradients,
    inputs,
    mlp,
    moments_in_numpy,
    planned,
    reset_in_numpy,
)

RATE, MATURITY, DECAY = 0.17, 2, 0.9


@pytest.mark.parametrize("fn", [mlp, cnn])
def test_steps_are_the_rule(fn):
    params, plan = planned(fn)
    tx = swr_optax.continual_backprop(
        optax.adam(0.1),
        plan,
        fresh(fn),
        replacement_rate=RATE,
        maturity=MATURITY,
        decay=DECAY,
    )
    state = tx.init(params)
    update = jax.jit(tx.update)
    counts = [units.count for units in plan.units]
    ages = [np.zeros(n) for n in counts]
    utilities = [np.zeros(n) for n in counts]
    owed = [0.0, 0.0]
    replaced = 0
    for seed in range(8):
        x = inputs(fn, seed)
        grads, activations = gradients(fn, plan, params, x)
        expected, inner = adam_step(params, grads, state.inner_state)
        outgoing = [
            np.abs(expected["w2"]).sum(1).reshape(POSITIONS[fn], -1).sum(0),
            np.abs(expected["w3"]).sum(1),
        ]
        masks = []
        for k, activation in enumerate(forward_in_numpy(fn, params, x)):
            ages[k] += 1
            useful = np.abs(activation).mean((0, 1)) * outgoing[k]
            utilities[k] = DECAY * utilities[k] + (1 - DECAY) * useful
            corrected = utilities[k] / (1 - DECAY ** ages[k])
            eligible = np.flatnonzero(ages[k] > MATURITY)
            mask = np.zeros(counts[k], bool)
            owed[k] += RATE * len(eligible)
            number = int(owed[k])
            if number:
                owed[k] -= number
                mask[eligible[np.argsort(corrected[eligible])[:number]]] = True
            ages[k][mask] = utilities[k][mask] = 0
            replaced += mask.sum()
            masks.append(mask)
        expected = reset_in_numpy(fn, expected, masks, drawn_from(fn, state))
        mu = moments_in_numpy(fn, inner[0].mu, masks)
        updates, state = update(grads, state, params, activations=activations)
        params = optax.apply_updates(params, updates)
        chex.assert_trees_all_close(params, expected, rtol=1e-6, atol=1e-6)
        chex.assert_trees_all_close(state.inner_state[0].mu, mu, rtol=1e-6, atol=1e-6)
        chex.assert_trees_all_close(list(state.ages), ages)
        chex.assert_trees_all_close(list(state.utilities), utilities, rtol=1e-5)
        np.testing.assert_allclose(state.owed, owed, atol=1e-5)
    assert replaced > 4


def test_coefficients_may_be_traced():
    params, plan = planned(mlp)
    grads, activations = gradients(mlp, plan, params, inputs(mlp))

    @jax.jit
    @jax.vmap
    def ages(rate, maturity, decay):
        tx = swr_optax.continual_backprop(
            optax.adam(0.1),
            plan,
            fresh(mlp),
            replacement_rate=rate,
            maturity=maturity,
            decay=decay,
        )
        state = tx.init(params)
        for _ in range(2):
            _, state = tx.update(grads, state, params, activations=activations)
        return state.ages[0]

    found = ages(jnp.array([0.0, 1.0]), jnp.array([0, 0]), jnp.array([0.9, 0.5]))
    np.testing.assert_array_equal(found, [[2] * 6, [0] * 6])


def test_a_rate_above_one_is_refused():
    _, plan = planned(mlp)
    with pytest.raises(ValueError, match="replacement_rate must be from 0 to 1, not 2"):
        swr_optax.continual_backprop(
            optax.sgd(0.1), plan, fresh(mlp), replacement_rate=2.0
        )


def test_complex_weights_count_with_their_sizes():
    params = {"first": jnp.eye(4), "second": jnp.array([[1], [1j], [2], [-2j]])}
    plan = swr_optax.plan_rescaling(
        lambda p, x: jnp.abs(jax.nn.relu(x @ p["first"]) @ p["second"]),
        params,
        jnp.ones((3, 4)),
    )
    found = outgoing_magnitude(plan.units[0], params, plan)
    np.testing.assert_allclose(found, [1, 1, 2, 2])


def test_its_state_keeps_its_types_beside_float64():
    """As a scan asks it of what it carries."""
    with jax.enable_x64(True):
        params, plan = planned(mlp)
        params = jax.tree.map(jnp.float32, params)
        tx = swr_optax.continual_backprop(optax.sgd(0.1), plan, fresh(mlp))
        state = tx.init(params)
        grads, activations = gradients(mlp, plan, params, inputs(mlp))
        _, after = tx.update(grads, state, params, activations=activations)
        for name in ("ages", "utilities", "owed"):
            chex.assert_trees_all_equal_dtypes(
                getattr(after, name), getattr(state, name)
            )

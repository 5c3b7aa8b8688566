"""Self-normalised resets against the authors' rule in NumPy, in steps."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax
from unit_networks import (
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

ETA, PERIOD, FIRST, EXPANSION, LONGEST = 0.3, 5, 3, 2, 7


def new_limit_in_numpy(histogram, limit):
    longer = histogram[1:]
    share = np.cumsum(longer) / longer.sum() if longer.sum() else np.ones(LONGEST)
    quantile = np.flatnonzero(share >= 1 - ETA - 1e-9)[0] + 1
    return np.clip(quantile if quantile < limit else EXPANSION * limit, 1, LONGEST)


@pytest.mark.parametrize("fn", [mlp, cnn])
def test_steps_are_the_rule(fn):
    params, plan = planned(fn)
    # So that units fire now and then; few examples at a time.
    for name in ("b1", "b2"):
        params[name] = params[name] - (1.5 if fn is mlp else 2.5)
    tx = swr_optax.self_normalized_resets(
        optax.adam(0.02),
        plan,
        fresh(fn),
        eta=ETA,
        period=PERIOD,
        first_limit=FIRST,
        expansion=EXPANSION,
        longest=LONGEST,
    )
    state = tx.init(params)
    update = jax.jit(tx.update)
    counts = [units.count for units in plan.units]
    silences = [np.zeros(n, int) for n in counts]
    histograms = [np.zeros((n, LONGEST + 1), int) for n in counts]
    limits = [np.full(n, float(FIRST)) for n in counts]
    resets, changes = 0, 0
    for step in range(1, 13):
        x = inputs(fn, step)[:2]
        grads, activations = gradients(fn, plan, params, x)
        updates, inner = optax.adam(0.02).update(grads, state.inner_state, params)
        expected = optax.apply_updates(params, updates)
        masks = []
        for k, activation in enumerate(forward_in_numpy(fn, params, x)):
            mask = np.zeros(counts[k], bool)
            for i in range(counts[k]):
                if (activation[..., i] > 0).any():
                    histograms[k][i, silences[k][i]] += 1
                    silences[k][i] = 0
                else:
                    silences[k][i] += 1
                if silences[k][i] >= limits[k][i]:
                    histograms[k][i, silences[k][i]] += 1
                    mask[i], silences[k][i] = True, 0
                if step % PERIOD == 0:
                    limits[k][i] = new_limit_in_numpy(histograms[k][i], limits[k][i])
                    histograms[k][i] = 0
            changes += (limits[k] != FIRST).sum()
            resets += mask.sum()
            masks.append(mask)
        expected = reset_in_numpy(fn, expected, masks, drawn_from(fn, state))
        mu = moments_in_numpy(fn, inner[0].mu, masks)
        updates, state = update(grads, state, params, activations=activations)
        params = optax.apply_updates(params, updates)
        chex.assert_trees_all_close(params, expected, rtol=1e-6, atol=1e-6)
        chex.assert_trees_all_close(state.inner_state[0].mu, mu, rtol=1e-6, atol=1e-6)
        chex.assert_trees_all_close(list(state.silences), silences)
        chex.assert_trees_all_close(list(state.histograms), histograms)
        chex.assert_trees_all_close(list(state.limits), limits)
    assert resets > 3
    assert changes


def test_eta_may_be_traced():
    params, plan = planned(mlp)
    grads, _ = gradients(mlp, plan, params, inputs(mlp))

    @jax.jit
    @jax.vmap
    def limits(eta):
        tx = swr_optax.self_normalized_resets(
            optax.sgd(0.0), plan, fresh(mlp), eta=eta, period=8, longest=20
        )
        state = tx.init(params)
        # Silent for one step, three times, and then for two.
        for fires in (0, 1, 0, 1, 0, 1, 0, 0):
            activations = (jnp.full((1, 6), fires), jnp.full((1, 4), fires))
            _, state = tx.update(grads, state, params, activations=activations)
        return state.limits[0][0]

    np.testing.assert_array_equal(limits(jnp.array([0.5, 0.01])), [1, 1])


def test_no_limit_is_above_the_longest():
    params, plan = planned(mlp)
    tx = swr_optax.self_normalized_resets(
        optax.sgd(0.1), plan, fresh(mlp), first_limit=100, longest=5
    )
    for limits in tx.init(params).limits:
        np.testing.assert_array_equal(limits, 5)

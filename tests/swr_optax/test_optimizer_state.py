"""Reference norms and running statistics, from a whole optimiser's state."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from networks import network
import swr_optax
from swr_optax import metrics
from two_layers import randomly, two_layers


def test_reset_steps_are_the_function_at_those_steps():
    params, plan = two_layers()
    automatic = optax.chain(
        optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.1, plan, reset_steps=[2, 3])
    )
    by_hand = optax.chain(optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.1, plan))
    state, other = automatic.init(params), by_hand.init(params)
    other_params = params
    step = jax.jit(automatic.update)
    for k in range(5):
        if k in (2, 3):
            other = swr_optax.reset_reference_norms(other, other_params, plan)
        grads = randomly(params, k, 0.5)
        moves, state = step(grads, state, params)
        params = optax.apply_updates(params, moves)
        moves, other = by_hand.update(grads, other, other_params)
        other_params = optax.apply_updates(other_params, moves)
        chex.assert_trees_all_close(state[1], other[1], rtol=1e-6, atol=1e-7)
    chex.assert_trees_all_close(params, other_params, rtol=1e-5)


def test_reference_norms_are_found_at_any_depth():
    params, plan = two_layers()
    inner = optax.chain(optax.adam(1e-2), swr_optax.soft_weight_rescaling(0.1, plan))
    tx = optax.MultiSteps(optax.apply_if_finite(inner, 3), 2)
    state = tx.init(params)
    grown = jax.tree.map(lambda p: 3 * p, params)
    reset = swr_optax.reset_reference_norms(state, grown, plan)
    found = reset.inner_opt_state.inner_state[1].reference_norms
    np.testing.assert_allclose(found, metrics.weight_norms(grown, plan))
    assert jax.tree.structure(reset) == jax.tree.structure(state)


def test_resetting_a_state_without_swr_says_so():
    params, plan = two_layers()
    with pytest.raises(ValueError, match="holds no SoftWeightRescalingState"):
        swr_optax.reset_reference_norms(optax.adam(1).init(params), params, plan)


def test_statistics_follow_only_steps_that_were_taken():
    net = network("cnn_bn")
    plan = net.plan()
    inner = optax.chain(optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.5, plan))
    tx = optax.MultiSteps(inner, 2)
    state = tx.init(net.params)
    grads = jax.tree.map(jnp.negative, net.params)
    stats = jax.tree.map(lambda leaf: leaf + 1.0, net.stats)
    with pytest.raises(ValueError, match="MultiStepsState, which may skip steps"):
        swr_optax.rescale_statistics(stats, state, plan)

    _, waiting = tx.update(grads, state, net.params)
    _, stepped = tx.update(grads, waiting, net.params)
    found = swr_optax.rescale_statistics(stats, stepped, plan, previous=waiting)
    # Each weight doubled and came half of the way back: c is 3/4 everywhere.
    np.testing.assert_allclose(
        found["BatchNorm_0"]["mean"], 0.75 * stats["BatchNorm_0"]["mean"], rtol=1e-6
    )
    np.testing.assert_allclose(
        found["BatchNorm_0"]["var"], 0.75**2 * stats["BatchNorm_0"]["var"], rtol=1e-6
    )

    # The next step is skipped, and the scalers of the last are still there.
    _, waiting = tx.update(grads, stepped, net.params)
    found = swr_optax.rescale_statistics(stats, waiting, plan, previous=stepped)
    chex.assert_trees_all_equal(found, stats)

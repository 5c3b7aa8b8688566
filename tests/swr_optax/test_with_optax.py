"""Around, inside and behind Optax's own transformations."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax
from two_layers import norms_of, randomly, two_layers

OPTIMIZERS = {
    "adam": lambda: optax.adam(1e-2),
    "sgd": lambda: optax.sgd(0.1, momentum=0.9),
    "muon": lambda: optax.contrib.muon(1e-2),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2)),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_chains_after_an_optimizer(optimizer):
    params, plan = two_layers()
    plain = OPTIMIZERS[optimizer]()
    tx = optax.chain(
        OPTIMIZERS[optimizer](), swr_optax.soft_weight_rescaling(0.25, plan)
    )
    grads = randomly(params)
    moves, _ = plain.update(grads, plain.init(params), params)
    state = tx.init(params)
    rescaled, new_state = jax.jit(tx.update)(grads, state, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, new_state)
    moved = norms_of(optax.apply_updates(params, moves))
    found = norms_of(optax.apply_updates(params, rescaled))
    np.testing.assert_allclose(found, 0.75 * moved + 0.25 * norms_of(params), rtol=1e-6)


def test_inject_hyperparams_changes_the_coefficient_between_steps():
    params, plan = two_layers()
    tx = optax.inject_hyperparams(swr_optax.soft_weight_rescaling)(0.5, plan)
    state = tx.init(params)
    step = jax.jit(tx.update)
    rescaled, state = step(params, state, params)
    np.testing.assert_allclose(
        norms_of(optax.apply_updates(params, rescaled)), 1.5 * norms_of(params), 1e-6
    )
    state.hyperparams["coefficient"] = jnp.float32(0.25)
    rescaled, state = step(params, state, params)
    np.testing.assert_allclose(
        norms_of(optax.apply_updates(params, rescaled)), 1.75 * norms_of(params), 1e-6
    )


def test_multi_steps_rescales_once_in_each_period():
    params, plan = two_layers()
    tx = optax.MultiSteps(
        optax.chain(optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.5, plan)), 2
    )
    state = tx.init(params)
    start = norms_of(params)
    grads = jax.tree.map(lambda p: -p, params)
    for k in range(2):
        moves, state = jax.jit(tx.update)(grads, state, params)
        params = optax.apply_updates(params, moves)
        np.testing.assert_allclose(norms_of(params), start * (1.0, 1.5)[k], rtol=1e-6)


def test_apply_if_finite_skips_a_bad_step():
    params, plan = two_layers()
    tx = optax.apply_if_finite(
        optax.chain(optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.5, plan)), 3
    )
    state = tx.init(params)
    bad = jax.tree.map(lambda p: p * jnp.nan, params)
    moves, state = jax.jit(tx.update)(bad, state, params)
    chex.assert_trees_all_equal(optax.apply_updates(params, moves), params)
    moves, state = jax.jit(tx.update)(jax.tree.map(jnp.negative, params), state, params)
    np.testing.assert_allclose(
        norms_of(optax.apply_updates(params, moves)), 1.5 * norms_of(params), rtol=1e-6
    )


@pytest.mark.parametrize("mask", ["leaves", "prefix"])
def test_masked_parts_are_left_alone(mask):
    params, plan = two_layers()
    frozen = {
        "leaves": {
            "first": {"w": False, "b": False},
            "second": {"w": True, "b": True},
        },
        "prefix": {"first": False, "second": True},
    }[mask]
    tx = optax.masked(swr_optax.soft_weight_rescaling(0.5, plan), frozen)
    rescaled, _ = jax.jit(tx.update)(params, tx.init(params), params)
    chex.assert_trees_all_equal(rescaled["first"], params["first"])
    np.testing.assert_allclose(
        norms_of(optax.apply_updates(params, rescaled)),
        norms_of(params) * [2, 1.5],
        rtol=1e-6,
    )
    # The second bias follows its own layer only: the first was not scaled.
    np.testing.assert_allclose(
        params["second"]["b"] + rescaled["second"]["b"],
        2 * 0.75 * params["second"]["b"],
        rtol=1e-6,
    )


def test_partition_rescales_its_part():
    params, plan = two_layers()
    tx = optax.partition(
        {
            "train": optax.chain(
                optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.5, plan)
            ),
            "freeze": optax.set_to_zero(),
        },
        {"first": "freeze", "second": "train"},
    )
    grads = jax.tree.map(jnp.negative, params)
    moves, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    np.testing.assert_allclose(
        norms_of(optax.apply_updates(params, moves)), norms_of(params) * [1, 1.5], 1e-6
    )


def test_takes_extra_arguments():
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.5, plan)
    tx.update(params, tx.init(params), params, value=1.0, grad=params)

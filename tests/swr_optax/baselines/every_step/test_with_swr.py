"""Every remedy chained with Soft Weight Rescaling, for three jitted steps."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from small_networks import NETWORKS, normal, shifts_of, weights_of
import swr_optax


class Trained(NamedTuple):
    """A network before and after three steps."""

    name: str
    network: Any
    params: Any
    state: Any


def fresh(name):
    shapes = jax.tree.map(jnp.shape, NETWORKS[name]().params)
    return lambda key: jax.tree.map(
        lambda p: p + jax.random.normal(key, ()), normal(shapes)
    )


def trained(name, make, start=None):
    network = NETWORKS[name]()
    tx = make(network.plan, fresh(name))

    @jax.jit
    def step(params, state):
        moves, state = tx.update(network.gradients(params), state, params)
        return optax.apply_updates(params, moves), state

    state = tx.init(network.params)
    params = network.params if start is None else start(network.params, network.plan)
    for _ in range(3):
        params, state = step(params, state)
    leaves = jax.tree.leaves((params, state))
    numbers = [x for x in leaves if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]
    chex.assert_tree_all_finite(numbers)
    return Trained(name, network, params, state)


def swr(plan, coefficient=0.1):
    return swr_optax.soft_weight_rescaling(coefficient, plan)


def within_the_bound(run):
    fan_in = {"mlp": {"first": 5, "second": 4}, "convolutional": {"conv": 18}}
    weights = weights_of(run.name, run.params)
    for layer, count in fan_in[run.name].items():
        assert np.abs(weights[layer]).max() <= 1.001 / np.sqrt(count)


def hidden_norms_held(run):
    layer = {"mlp": "first", "convolutional": "conv"}[run.name]
    now, start = (
        np.linalg.norm(weights_of(run.name, params)[layer])
        for params in (run.params, run.network.params)
    )
    np.testing.assert_allclose(now, start, rtol=1e-5)


def vectors_have_length_one(run):
    for vectors in run.state[0].vectors:
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, rtol=1e-5)
    assert run.state[0].count == 3


def initial_entries_in_order(run):
    for now, start in zip(
        jax.tree.leaves(run.state[0].sorted_initial),
        jax.tree.leaves(run.network.params),
        strict=True,
    ):
        np.testing.assert_array_equal(np.ravel(now), np.sort(start, None))


def all_fresh(run):
    # With everything shrunk, what is left is what the last step drew.
    start = jax.tree.leaves(run.network.params)
    shifts = [
        np.ravel(now - before)
        for now, before in zip(jax.tree.leaves(run.params), start, strict=True)
    ]
    shifts = np.concatenate(shifts)
    np.testing.assert_allclose(shifts, shifts[0], atol=1e-5)
    assert abs(shifts[0]) > 1e-3


def hare_is_back(run):
    chex.assert_trees_all_close(
        run.params, swr_optax.tortoise_params(run.state), rtol=1e-5, atol=1e-6
    )


def utilities_are_known(run):
    for utility in jax.tree.leaves(run.state[0].utilities):
        assert (utility != 0).any()
    norms_are_held(run)


def norms_are_held(run):
    now, start = (
        swr_optax.metrics.weight_norms(p, run.network.plan)
        for p in (run.params, run.network.params)
    )
    np.testing.assert_allclose(now, start, rtol=1e-5)


def nearer_to_isometry(run):
    plain = trained(run.name, lambda plan, _: optax.chain(optax.adam(1e-2), swr(plan)))
    layer = {"mlp": "second", "convolutional": "dense"}[run.name]
    now, without = (
        np.linalg.norm(np.linalg.svd(weights_of(run.name, p)[layer])[1] - 1)
        for p in (run.params, plain.params)
    )
    assert now < 0.95 * without


def starts_are_kept(run):
    chex.assert_trees_all_equal(run.state[0].initial_params, run.network.params)


def starts_and_norms_are_kept(run):
    starts_are_kept(run)
    norms_are_held(run)


CHAINS = {
    "weight_clipping": (
        lambda plan, _: optax.chain(
            optax.adam(1e-2), swr(plan), swr_optax.weight_clipping(plan, 1.0)
        ),
        within_the_bound,
    ),
    "project_norms": (
        lambda plan, _: optax.chain(
            optax.adam(1e-2), swr(plan), swr_optax.project_norms(plan)
        ),
        hidden_norms_held,
    ),
    "spectral_regularization": (
        lambda plan, _: optax.chain(
            swr_optax.spectral_regularization(1e-2, plan), optax.adam(1e-2), swr(plan)
        ),
        vectors_have_length_one,
    ),
    "wasserstein_l2": (
        lambda plan, _: optax.chain(
            swr_optax.wasserstein_l2(1e-2, plan), optax.adam(1e-2), swr(plan)
        ),
        initial_entries_in_order,
    ),
    "shrink_and_perturb_each_step": (
        lambda plan, fresh: optax.chain(
            optax.adam(1e-2),
            swr(plan),
            swr_optax.shrink_and_perturb_each_step(1.0, 1.0, fresh),
        ),
        all_fresh,
    ),
    "hare_and_tortoise": (
        lambda plan, _: optax.chain(
            optax.adam(1e-2), swr(plan), swr_optax.hare_and_tortoise(3, 0.9)
        ),
        hare_is_back,
    ),
    "upgd": (
        lambda plan, _: optax.chain(swr_optax.upgd(1e-2), swr(plan, 1.0)),
        utilities_are_known,
    ),
    "orthogonal_decay": (
        lambda plan, _: optax.chain(
            optax.adam(1e-2), swr_optax.orthogonal_decay(0.1, 1.0, plan), swr(plan)
        ),
        nearer_to_isometry,
    ),
    "l2_init": (
        lambda plan, _: optax.chain(
            swr_optax.l2_init(1e-2), optax.adam(1e-2), swr(plan)
        ),
        starts_are_kept,
    ),
    "l2_directions": (
        lambda plan, _: optax.chain(
            swr_optax.l2_directions(1e-2, plan), optax.adam(1e-2), swr(plan, 1.0)
        ),
        starts_and_norms_are_kept,
    ),
}


@pytest.mark.parametrize("name", ["mlp", "convolutional"])
@pytest.mark.parametrize("remedy", CHAINS)
def test_three_steps_with_swr(remedy, name):
    make, invariant = CHAINS[remedy]
    invariant(trained(name, make))


@pytest.mark.parametrize("name", ["mlp", "convolutional"])
def test_three_steps_with_swr_from_what_fire_made(name):
    run = trained(
        name,
        lambda plan, _: optax.chain(optax.adam(1e-3), swr(plan, 0.0)),
        start=swr_optax.fire,
    )
    layer = {"mlp": "second", "convolutional": "dense"}[name]
    values = np.linalg.svd(weights_of(name, run.params)[layer])[1]
    np.testing.assert_allclose(values, np.sqrt(3 / 4), atol=0.02)
    assert shifts_of(name, run.params)

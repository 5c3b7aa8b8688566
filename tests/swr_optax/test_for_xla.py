"""What is done for XLA's sake changes no number, and does what it is for."""

import itertools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax
from swr_optax._for_xla import TOGETHER, after, entries
from swr_optax._turns import ALONE_FROM

pytestmark = pytest.mark.usefixtures("optimized")


@pytest.mark.parametrize(
    "count", [1, TOGETHER, TOGETHER + 1, 2 * TOGETHER, 3 * TOGETHER - 1]
)
def test_entries_are_those_of_the_vector(count):
    vector = np.random.default_rng(0).normal(size=count).astype(np.float32)
    vector[0] = np.nan
    found = jax.jit(lambda v: list(entries(v)))(vector)
    np.testing.assert_array_equal(np.array(found), vector)


def test_what_waits_is_not_changed():
    array = np.array([-1.5, 0.0, np.inf, 1e-30], np.float32)
    for scalar in (-0.5, 0.0, 3.0, np.inf):
        found = jax.jit(after)(array, jnp.float32(scalar))
        np.testing.assert_array_equal(found, array)


def dense(layers, width):
    params = {
        f"{i:03}": {"w": jnp.full((width, width), 0.1), "b": jnp.ones(width)}
        for i in range(layers)
    }
    chain = [swr_optax.SequentialLayer(f"{i:03}/w", f"{i:03}/b") for i in range(layers)]
    return params, swr_optax.sequential_plan(params, chain)


def compiled(tx, params):
    """The step of a user: update, apply, and donate what was there before."""

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    grads = jax.tree.map(jnp.cos, params)
    return (
        jax.jit(step, donate_argnums=(0, 1))
        .lower(params, tx.init(params), grads)
        .compile()
    )


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="for CPUs alone")
def test_scratch_memory_is_that_of_two_large_weights_at_most_and_not_of_all():
    params, plan = dense(layers=6, width=400)
    leaf = params["000"]["w"]
    assert leaf.size >= ALONE_FROM
    tx = optax.chain(optax.adam(1e-3), swr_optax.soft_weight_rescaling(1e-3, plan))
    scratch = compiled(tx, params).memory_analysis().temp_size_in_bytes
    assert scratch < 2.2 * leaf.nbytes


def test_layers_of_one_shape_share_their_kernels():
    """Each layer's own kernels are those that Adam has; SWR's are for all."""

    def programs(layers):
        params, plan = dense(layers, width=8)
        tx = optax.chain(optax.adam(1e-3), swr_optax.soft_weight_rescaling(1e-3, plan))
        text = compiled(tx, params).as_text()
        text = re.sub(r", metadata=\{[^}]*\}|[._]\d+", "", text)
        bodies = text.split("\n\n")
        return len({body for body in bodies if body.startswith("%fused")})

    # What differs by its position in a vector would be one for each layer.
    assert programs(150) - programs(100) < 25


def test_one_reduction_for_all_small_weights_of_one_shape():
    params, plan = dense(layers=20, width=8)
    jaxpr = jax.make_jaxpr(lambda p: swr_optax.metrics.weight_norms(p, plan))(params)
    assert str(jaxpr).count("reduce_sum") == 1


def test_the_order_of_turns_does_not_show():
    """Large and small weights in turn: the same as all by their definition."""
    widths = [32, 512, 512, 8, 300, 700, 4]
    params = {
        f"{i}": {
            "w": jax.random.normal(jax.random.key(i), shape) / shape[0] ** 0.5,
            "b": jax.random.normal(jax.random.key(i), shape[1:]),
        }
        for i, shape in enumerate(itertools.pairwise(widths))
    }
    chain = [swr_optax.SequentialLayer(f"{i}/w", f"{i}/b") for i in range(6)]
    plan = swr_optax.sequential_plan(params, chain)
    tx = swr_optax.soft_weight_rescaling(0.1, plan)
    moves = jax.tree.map(lambda p: 0.3 * jnp.cos(9 * p), params)
    updates, state = jax.jit(tx.update)(moves, tx.init(params), params)
    found = optax.apply_updates(params, updates)
    scale = 1.0
    for i in range(6):
        before, new = (
            {k: np.asarray(v, np.float64) for k, v in tree[f"{i}"].items()}
            for tree in (params, optax.apply_updates(params, moves))
        )
        norm = np.linalg.norm(new["w"])
        c = (0.1 * np.linalg.norm(before["w"]) + 0.9 * norm) / norm
        scale *= c
        np.testing.assert_allclose(state.log_scalers[i], np.log(c), rtol=1e-4)
        chex.assert_trees_all_close(
            found[f"{i}"],
            {"w": c * new["w"], "b": scale * new["b"]},
            rtol=2e-6,
            atol=1e-6,
        )

"""How many equations an update is: what XLA has to compile at every start."""

import jax
from jax.extend import core
import jax.numpy as jnp
import optax
import pytest

import swr_optax

BLOCKS = 48


def equations(jaxpr):
    """All equations, also of the functions that a jaxpr calls."""
    return sum(
        1 + sum(equations(inner) for inner in core.jaxprs_in_params(eqn.params))
        for eqn in jaxpr.eqns
    )


def stacked():
    """A tower of 48 blocks whose parameters are stacked, and its plan."""
    params = {"w": jnp.ones((BLOCKS, 4, 4)), "b": jnp.ones((BLOCKS, 4))}

    def apply(params, x):
        def block(x, p):
            return jax.nn.relu(x @ p["w"] + p["b"]), None

        return jax.lax.scan(block, x, params)[0]

    plan = swr_optax.plan_rescaling(apply, params, jnp.ones((2, 4)))
    assert len(plan.layers) == BLOCKS
    return params, plan


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("groups", [False, True])
def test_schedules_run_once_a_group_and_norms_once_a_leaf(dtype, groups):
    params, plan = stacked()
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    calls = []

    def schedule(count):
        calls.append(count)
        return optax.cosine_decay_schedule(0.1, 100)(count)

    coefficient = dict.fromkeys(plan.groups, schedule) if groups else schedule
    tx = swr_optax.soft_weight_rescaling(coefficient, plan)
    jaxpr = jax.make_jaxpr(tx.update)(params, tx.init(params), params)
    assert equations(jaxpr.jaxpr) <= 144
    assert len(calls) <= len(plan.groups)

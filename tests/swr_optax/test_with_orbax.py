"""Saved and restored by Orbax, in the middle of training."""

from typing import NamedTuple

import chex
from flax import serialization
import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
import pytest

import swr_optax
from two_layers import make_plan, randomly, two_layers


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_training_goes_on_where_it_was_saved(tmp_path, dtype):
    params = jax.tree.map(lambda p: p.astype(dtype), two_layers()[0])
    plan = make_plan(params)
    tx = optax.chain(
        swr_optax.l2_init(1e-3),
        optax.adam(1e-2),
        swr_optax.soft_weight_rescaling(0.01, plan, reset_steps=[3]),
    )

    @jax.jit
    def step(params, state, grads):
        moves, state = tx.update(grads, state, params)
        return optax.apply_updates(params, moves), state

    carry = params, tx.init(params)
    for k in range(2):
        carry = step(*carry, randomly(params, k))
    owed = carry[1][2].owed_log_scalers
    assert owed.any() == (dtype == jnp.bfloat16)
    text = plan.to_json()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "both", carry)
        checkpointer.wait_until_finished()
        empty = jax.eval_shape(lambda: (params, tx.init(params)))
        restored = checkpointer.restore(tmp_path / "both", empty)
    chex.assert_trees_all_equal(restored, carry)

    again = swr_optax.RescalingPlan.from_json(text)
    swr_optax.soft_weight_rescaling(0.01, again).init(restored[0])
    for k in range(2, 5):
        carry = step(*carry, randomly(params, k))
        restored = step(*restored, randomly(params, k))
    chex.assert_trees_all_equal(restored, carry)


def test_a_state_is_restored_into_the_shapes_that_init_returns(tmp_path):
    params, plan = two_layers()
    tx = optax.chain(optax.adam(1e-2), swr_optax.soft_weight_rescaling(0.1, plan))
    state = tx.init(params)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        shapes = tx.init(jax.eval_shape(lambda: params))
        restored = checkpointer.restore(tmp_path / "state", shapes)
        bare = checkpointer.restore(tmp_path / "state")  # Lists and dicts.
    chex.assert_trees_all_equal(restored, state)
    advice = "if it was saved, restore it into the structure of tx.init"
    with pytest.raises(
        ValueError, match=f"holds no SoftWeightRescalingState: .*{advice}"
    ):
        swr_optax.reset_reference_norms(bare, params, plan)
    with pytest.raises(
        TypeError, match=f"SoftWeightRescalingState .*, not dict: {advice}"
    ):
        swr_optax.soft_weight_rescaling(0.1, plan).update(params, bare[1], params)


class EarlierState(NamedTuple):
    """What the state was before layers could owe."""

    count: jax.Array
    reference_norms: jax.Array
    log_scalers: jax.Array


def test_a_state_of_the_version_before_goes_on_and_what_it_lacks_is_named(tmp_path):
    """A state's fields are its format: neither is one guessed nor one dropped."""
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.1, plan)
    state = tx.init(params)
    earlier = EarlierState(*state[:3])
    with pytest.raises(ValueError, match="owed_log_scalers"):
        serialization.from_bytes(state, serialization.to_bytes(earlier))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", earlier)
        checkpointer.wait_until_finished()
        with pytest.raises(ValueError, match="owed_log_scalers"):
            checkpointer.restore(
                tmp_path / "state", tx.init(jax.eval_shape(lambda: params))
            )
        # As the version before had it, and then in today's form.
        restored = checkpointer.restore(tmp_path / "state", earlier)
    with pytest.raises(TypeError, match="not EarlierState: if it was saved"):
        tx.update(params, restored, params)
    going_on = swr_optax.SoftWeightRescalingState(*restored)
    chex.assert_trees_all_equal(
        tx.update(params, going_on, params), tx.update(params, state, params)
    )

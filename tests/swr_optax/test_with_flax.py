"""States in Flax and Orbax."""

import chex
import flax.serialization
import jax
import optax
import orbax.checkpoint as ocp

import swr_optax
from two_layers import randomly, two_layers


def test_state_is_arrays_and_survives_checkpoints(tmp_path):
    params, plan = two_layers()
    tx = optax.chain(optax.adam(1e-2), swr_optax.soft_weight_rescaling(0.5, plan))
    _, state = tx.update(randomly(params), tx.init(params), params)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))

    text = flax.serialization.to_bytes(state)
    chex.assert_trees_all_equal(
        flax.serialization.from_bytes(tx.init(params), text), state
    )
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "state", tx.init(params))
    chex.assert_trees_all_equal(restored, state)

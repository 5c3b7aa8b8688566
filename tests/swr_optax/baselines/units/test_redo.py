"""ReDo against the rule in NumPy, and with SWR, masks, seeds and traced thresholds."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax
from unit_networks import (
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


def dormant_in_numpy(fn, params, x, threshold):
    masks = []
    for activation in forward_in_numpy(fn, params, x):
        score = np.abs(activation).mean((0, 1))
        masks.append(score / (score.mean() + 1e-9) <= threshold)
    return masks


@pytest.mark.parametrize("fn", [mlp, cnn])
def test_a_step_is_the_rule(fn):
    params, plan = planned(fn)
    tx = swr_optax.redo(optax.adam(0.1), plan, fresh(fn), period=2, threshold=0.8)
    state = tx.init(params)
    x = inputs(fn)
    for count in range(4):
        grads, activations = gradients(fn, plan, params, x)
        expected, inner = adam_step(params, grads, state.inner_state)
        masks = [np.zeros(u.count, bool) for u in plan.units]
        if count == 2:
            masks = dormant_in_numpy(fn, params, x, 0.8)
            assert all(0 < mask.sum() < len(mask) for mask in masks)
        expected = reset_in_numpy(fn, expected, masks, drawn_from(fn, state))
        mu = moments_in_numpy(fn, inner[0].mu, masks)
        nu = moments_in_numpy(fn, inner[0].nu, masks)
        updates, state = tx.update(grads, state, params, activations=activations)
        params = optax.apply_updates(params, updates)
        chex.assert_trees_all_close(params, expected, rtol=1e-6, atol=1e-6)
        chex.assert_trees_all_close(state.inner_state[0].mu, mu, rtol=1e-6, atol=1e-6)
        chex.assert_trees_all_close(state.inner_state[0].nu, nu, rtol=1e-6, atol=1e-6)


def test_a_unit_that_is_reset_changes_no_output():
    params, plan = planned(mlp)
    tx = swr_optax.redo(optax.sgd(0.0), plan, fresh(mlp), period=1, threshold=0.0)
    params["b1"] = params["b1"].at[:3].set(-100.0)
    x = inputs(mlp)
    state = tx.init(params)
    before = mlp(params, x)
    for _ in range(2):
        grads, activations = gradients(mlp, plan, params, x)
        updates, state = tx.update(grads, state, params, activations=activations)
        params = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(params["b1"][:3], 0)
    np.testing.assert_allclose(mlp(params, x), before, rtol=1e-5, atol=1e-5)


def one_step(tx, fn, plan, params, state, x):
    grads, activations = gradients(fn, plan, params, x)
    updates, state = tx.update(grads, state, params, activations=activations)
    return optax.apply_updates(params, updates), state


def test_chains_with_swr_which_then_scales_what_is_new():
    params, plan = planned(mlp)
    recycled = swr_optax.redo(
        optax.adam(0.1), plan, fresh(mlp), period=1, threshold=0.8
    )
    tx = optax.chain(recycled, swr_optax.soft_weight_rescaling(0.3, plan))
    q, together = params, tx.init(params)
    step = jax.jit(lambda p, state: one_step(tx, mlp, plan, p, state, inputs(mlp)))
    for _ in range(2):
        p, _ = one_step(recycled, mlp, plan, q, together[0], inputs(mlp))
        q, together = step(q, together)
    expected = swr_optax.rescale(p, together[1].log_scalers, plan)
    chex.assert_trees_all_close(q, expected, rtol=1e-5, atol=1e-6)


def test_vmaps_over_seeds_and_thresholds():
    params, plan = planned(mlp)
    x = inputs(mlp)

    def run(seed, threshold):
        tx = swr_optax.redo(
            optax.adam(0.1), plan, fresh(mlp), period=1, threshold=threshold, key=seed
        )
        state = tx.init(params)
        p = params
        for _ in range(2):
            p, state = one_step(tx, mlp, plan, p, state, x)
        return p

    keys = jax.random.split(jax.random.key(3), 3)
    thresholds = jnp.array([0.0, 0.8, 0.8])
    together = jax.jit(jax.vmap(run))(keys, thresholds)
    for i in range(3):
        alone = run(keys[i], thresholds[i])
        chex.assert_trees_all_close(
            jax.tree.map(lambda leaf, i=i: leaf[i], together),
            alone,
            rtol=1e-5,
            atol=1e-6,
        )
    assert not np.allclose(together["w1"][1], together["w1"][2])


@pytest.mark.parametrize(
    "inner",
    [
        optax.sgd(0.1, momentum=0.9),
        optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1)),
        optax.chain(swr_optax.l2_init(0.1), optax.adam(0.1)),
        optax.inject_hyperparams(optax.adam)(0.1),
        optax.masked(optax.adam(0.1), {"w1": 1, "b1": 0, "w2": 1, "b2": 1, "w3": 1}),
        optax.multi_transform(
            {"a": optax.adam(0.1), "b": optax.sgd(0.1, 0.9)},
            {"w1": "a", "b1": "b", "w2": "a", "b2": "b", "w3": "a"},
        ),
    ],
)
def test_the_state_of_any_optimiser_begins_anew_where_units_do(inner):
    params, plan = planned(mlp)
    tx = swr_optax.redo(inner, plan, fresh(mlp), period=1, threshold=0.8)
    x = inputs(mlp)
    state = tx.init(params)
    params, state = one_step(tx, mlp, plan, params, state, x)
    masks = dormant_in_numpy(mlp, params, x, 0.8)
    new, state = one_step(tx, mlp, plan, params, state, x)
    begun = inner.init(new)
    found = 0
    given = jax.tree.leaves_with_path(state.inner_state)
    for (path, leaf), start in zip(given, jax.tree.leaves(begun), strict=True):
        if path[-1:] == (jax.tree_util.DictKey("w1"),):
            found += 1
            np.testing.assert_array_equal(leaf[:, masks[0]], start[:, masks[0]])
            assert not np.allclose(leaf[:, ~masks[0]], start[:, ~masks[0]])
    assert found


@pytest.mark.parametrize(
    "remedy",
    [
        swr_optax.redo,
        swr_optax.continual_backprop,
        swr_optax.self_normalized_resets,
    ],
)
def test_parameters_may_be_masked_out(remedy):
    """Their updates pass, and the others' units are reset as they would be."""
    params, plan = planned(mlp)
    always = {
        swr_optax.redo: {"period": 1, "threshold": 10.0},
        swr_optax.continual_backprop: {"replacement_rate": 1.0, "maturity": 0},
        swr_optax.self_normalized_resets: {"first_limit": 0},
    }
    tx = remedy(optax.sgd(0.1, momentum=0.9), plan, fresh(mlp), **always[remedy])
    params["b1"] = params["b1"].at[:3].set(-100.0)  # Silent, and so reset by all.
    masked = optax.masked(tx, {name: name != "b1" for name in params})
    grads, activations = gradients(mlp, plan, params, inputs(mlp))
    given = {"activations": activations}
    state, whole = masked.init(params), tx.init(params)
    for _ in range(2):
        found, state = jax.jit(masked.update)(grads, state, params, **given)
        expected, whole = tx.update(grads, whole, params, **given)
    chex.assert_trees_all_equal(found["b1"], grads["b1"])
    assert not np.allclose(expected["b1"], -0.1 * grads["b1"])
    others = {name: found[name] for name in ("w1", "w2", "b2", "w3")}
    chex.assert_trees_all_close(
        others, {name: expected[name] for name in others}, rtol=1e-6
    )


def test_mistakes_are_named():
    params, plan = planned(mlp)
    tx = swr_optax.redo(optax.sgd(0.1), plan, fresh(mlp))
    state = tx.init(params)
    with pytest.raises(ValueError, match="redo needs the activations: call update"):
        tx.update(params, state, params)
    with pytest.raises(ValueError, match="redo needs the parameters"):
        tx.update(params, state)
    with pytest.raises(
        ValueError, match=r"arrays with \[6, 4\] units along their last"
    ):
        tx.update(params, state, params, activations=(jnp.ones((2, 6)),))
    with pytest.raises(ValueError, match="threshold must not be negative, not -1"):
        swr_optax.redo(optax.sgd(0.1), plan, fresh(mlp), threshold=-1.0)
    with pytest.raises(ValueError, match="period must be at least 1"):
        swr_optax.redo(optax.sgd(0.1), plan, fresh(mlp), period=0)
    bare = swr_optax.sequential_plan(params, ["w1", "w2", "w3"])
    with pytest.raises(ValueError, match="redo needs a plan with hidden units, and"):
        swr_optax.redo(optax.sgd(0.1), bare, fresh(mlp))

"""DASH against the authors' rule in NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import swr_optax
from unit_networks import cnn, fresh, gradients, inputs, mlp, planned


def clipped_cosine(a, b, smallest):
    norms = max(np.linalg.norm(a), 1e-8) * max(np.linalg.norm(b), 1e-8)
    return np.clip((a * b).sum() / norms, smallest, 1)


def dash_in_numpy(params, descent, smallest):
    """Dense weights by output, kernels by channel pair, a layer's biases together."""
    new = {name: np.array(leaf, np.float64) for name, leaf in params.items()}
    for name, w in new.items():
        v = np.asarray(descent[name], np.float64)
        if w.ndim == 1:
            w *= clipped_cosine(w, v, smallest)
        elif w.ndim == 2:
            for o in range(w.shape[1]):
                w[:, o] *= clipped_cosine(w[:, o], v[:, o], smallest)
        else:
            for i in range(w.shape[2]):
                for o in range(w.shape[3]):
                    w[:, :, i, o] *= clipped_cosine(
                        w[:, :, i, o], v[:, :, i, o], smallest
                    )
    return new


@pytest.mark.parametrize("fn", [mlp, cnn])
def test_is_the_rule(fn):
    params, plan = planned(fn)
    descent = jax.tree.map(jnp.zeros_like, params)
    expected = {name: np.zeros(leaf.shape) for name, leaf in params.items()}
    for seed in range(3):
        grads, _ = gradients(fn, plan, params, inputs(fn, seed))
        descent = swr_optax.accumulate_descent(descent, grads, 0.4)
        for name, g in grads.items():
            expected[name] = 0.6 * expected[name] + 0.4 * -np.asarray(g)
    chex.assert_trees_all_close(descent, expected, rtol=1e-5, atol=1e-6)
    found = jax.jit(lambda p, v, s: swr_optax.dash(p, v, plan, smallest=s))(
        params, descent, 0.1
    )
    wanted = dash_in_numpy(params, expected, 0.1)
    chex.assert_trees_all_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_normalisations_are_left_alone_and_stacks_go_slice_by_slice():
    def fn(p, x):
        def block(x, p):
            x = jax.nn.standardize(x @ p["w"] + p["b"]) * p["scale"] + p["shift"]
            return jax.nn.relu(x), None

        return jax.lax.scan(block, x, p)[0]

    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "w": jax.random.normal(keys[0], (2, 4, 4)),
        "b": jnp.ones((2, 4)),
        "scale": jnp.ones((2, 4)),
        "shift": jnp.ones((2, 4)),
    }
    plan = swr_optax.plan_rescaling(fn, params, jnp.ones((3, 4)))
    descent = jax.tree.map(lambda p: jnp.cos(9 * p), params)
    descent["w"] = jax.random.normal(keys[1], (2, 4, 4))
    found = swr_optax.dash(params, descent, plan)
    for name in ("scale", "shift"):
        np.testing.assert_array_equal(found[name], params[name])
    for i in range(2):
        layer = {name: params[name][i] for name in ("w", "b")}
        there = {name: descent[name][i] for name in ("w", "b")}
        wanted = dash_in_numpy(layer, there, 0.3)
        np.testing.assert_allclose(found["w"][i], wanted["w"], rtol=1e-5)
        np.testing.assert_allclose(found["b"][i], wanted["b"], rtol=1e-5)


def test_keeps_types():
    params, plan = planned(mlp)
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    chex.assert_trees_all_equal_dtypes(swr_optax.dash(params, params, plan), params)
    chex.assert_trees_all_equal(swr_optax.dash(params, params, plan), params)


def test_mistakes_are_named():
    params, plan = planned(mlp)
    with pytest.raises(ValueError, match="smallest must be from 0 to 1, not 2"):
        swr_optax.dash(params, params, plan, smallest=2.0)
    with pytest.raises(ValueError, match="rate must be from 0 to 1, not 2"):
        swr_optax.accumulate_descent(params, params, 2.0)
    with pytest.raises(ValueError, match="params do not fit the plan"):
        swr_optax.dash(fresh(cnn)(jax.random.key(0)), params, plan)

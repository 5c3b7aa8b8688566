"""Loops, branches and layers that are stacked."""

import time

import chex
import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax
from swr_optax import metrics

WIDTH, BLOCKS = 6, 3


def proportional(fn, params, *inputs, scalers=0.3, **options):
    """Plans for the function, rescales at random, and compares the outputs."""
    plan = swr_optax.plan_rescaling(fn, params, *inputs, priority="function", **options)
    assert not plan.unmet
    log_scalers = jax.random.uniform(
        jax.random.key(0), (len(plan.layers),), minval=-scalers, maxval=scalers
    )
    scaled = swr_optax.rescale(params, log_scalers, plan)
    old, new = fn(params, *inputs), fn(scaled, *inputs)
    constant = np.exp(plan.output_exponents[0] @ np.asarray(log_scalers))
    np.testing.assert_allclose(
        new, constant * old, rtol=1e-4, atol=1e-5 * float(jnp.abs(old).max())
    )
    return plan


def random_like(shapes, seed=0):
    leaves, structure = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return structure.unflatten(
        [
            jax.random.normal(key, leaf.shape)
            for key, leaf in zip(keys, leaves, strict=True)
        ]
    )


def blocks(params, x):
    """A scan over stacked layers, between two layers of their own."""
    x = jax.nn.relu(x @ params["in"])

    def block(x, layer):
        return jax.nn.relu(x @ layer["w"] + layer["b"]), None

    x, _ = lax.scan(block, x, params["blocks"])
    return x @ params["out"]


def unrolled(params, x):
    x = jax.nn.relu(x @ params["in"])
    for i in range(BLOCKS):
        layer = params[f"block_{i}"]
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params["out"]


@pytest.fixture(name="stacked")
def stacked_params():
    def shape(*sizes):
        return jax.ShapeDtypeStruct(sizes, jnp.float32)

    return random_like(
        {
            "in": shape(4, WIDTH),
            "blocks": {"w": shape(BLOCKS, WIDTH, WIDTH), "b": shape(BLOCKS, WIDTH)},
            "out": shape(WIDTH, 2),
        }
    )


def unstack(params):
    layers = {
        f"block_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], params["blocks"])
        for i in range(BLOCKS)
    }
    return {"in": params["in"], "out": params["out"], **layers}


X = jax.random.normal(jax.random.key(9), (8, 4))


def test_slices_of_stacked_layers_are_layers(stacked):
    plan = proportional(blocks, stacked, X)
    assert [layer.name for layer in plan.layers] == [
        "in",
        "blocks/w[0]",
        "blocks/w[1]",
        "blocks/w[2]",
        "out",
    ]
    by_hand = swr_optax.plan_rescaling(unrolled, unstack(stacked), X)
    renamed = {
        "in": "in",
        "out": "out",
        **{f"blocks/{k}[{i}]": f"block_{i}/{k}" for k in "wb" for i in range(BLOCKS)},
    }
    for name, row in zip(plan.leaf_paths, plan.exponents, strict=True):
        expected = by_hand.exponents[by_hand.leaf_paths.index(renamed[name])]
        np.testing.assert_array_equal(row, expected)
    again = swr_optax.RescalingPlan.from_json(plan.to_json())
    assert again.leaves == plan.leaves


def test_stacked_layers_train_as_separate_ones_do(stacked):
    """Norms, scalers and updates of each slice are those of its own layer."""
    plan = swr_optax.plan_rescaling(blocks, stacked, X)
    tx = optax.chain(optax.adam(0.1), swr_optax.soft_weight_rescaling(0.3, plan))
    separate = unstack(stacked)
    separate_plan = swr_optax.plan_rescaling(unrolled, separate, X)
    separate_tx = optax.chain(
        optax.adam(0.1), swr_optax.soft_weight_rescaling(0.3, separate_plan)
    )
    params, state = stacked, tx.init(stacked)
    separate_state = separate_tx.init(separate)
    for k in range(5):
        grads = random_like(params, seed=k)
        updates, state = jax.jit(tx.update)(grads, state, params)
        params = optax.apply_updates(params, updates)
        updates, separate_state = separate_tx.update(
            unstack(grads), separate_state, separate
        )
        separate = optax.apply_updates(separate, updates)
        chex.assert_trees_all_close(unstack(params), separate, rtol=1e-5, atol=1e-6)
        chex.assert_trees_all_close(state[1], separate_state[1], rtol=1e-5, atol=1e-6)
    growth = metrics.weight_growth(params, stacked, plan)
    expected = metrics.weight_growth(separate, unstack(stacked), separate_plan)
    np.testing.assert_allclose(growth, expected, rtol=1e-5)


def test_flaxs_scan_over_blocks():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return x + nn.Dense(WIDTH)(nn.relu(nn.Dense(8)(nn.LayerNorm()(x)))), None

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            scanned = nn.scan(
                Block,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=4,
            )
            x, _ = scanned()(nn.Dense(WIDTH)(x), None)
            return nn.Dense(2)(nn.LayerNorm()(x))

    net = Net()
    params = random_like(net.init(jax.random.key(0), X)["params"])
    plan = proportional(lambda p, x: net.apply({"params": p}, x), params, X)
    assert len(plan.layers) == 1 + 4 * 3 + 2


def test_slices_that_are_used_together_share_one_scale(stacked):
    def fn(params, x):
        return blocks(params, x) * jnp.linalg.norm(params["blocks"]["w"])

    proportional(fn, stacked, X)
    plan = swr_optax.plan_rescaling(fn, stacked, X)
    assert "blocks/w[0] and blocks/w[1] are used together" in plan.unmet[0]


def test_weights_that_a_loop_repeats_are_one_layer():
    def fn(params, x):
        def step(state, x):
            state = jax.nn.relu(x @ params["i"] + state @ params["h"])
            return state, state

        states = lax.scan(step, jnp.zeros((8, 4)), jnp.stack([x] * 20), reverse=True)[1]
        return states.sum(0) @ params["out"]

    params = random_like({"i": X[:4], "h": X[:4] / 8, "out": X[:4]})
    plan = proportional(fn, jax.tree.map(lambda p: p / 4, params), X)
    # The recurrent weight may not scale, or the state would grow with time.
    np.testing.assert_allclose(plan.exponents[plan.leaf_paths.index("h")], 0, atol=1e-9)
    assert plan.exponents[plan.leaf_paths.index("i")].any()
    assert {leaf.role for leaf in plan.leaves} == {"weight"}


@pytest.mark.parametrize("length", [0, 1, 3])
def test_a_loop_that_multiplies_counts_its_rounds(length):
    def fn(params, x):
        body = lambda x, _: (x @ params["w"], None)  # noqa: E731
        return lax.scan(body, x @ params["in"], None, length=length)[0]

    params = {"in": X[:4], "w": X[4:] / 2}
    plan = proportional(fn, params, X)
    power = dict(
        zip([x.path for x in plan.layers], plan.output_exponents[0], strict=True)
    )
    assert power.get("w", 0) == length


def test_while_keeps_the_scale_of_its_state():
    def fn(params, x):
        def body(state):
            i, y = state
            return i + 1, jax.nn.relu(y @ params["w"]) + x @ params["in"]

        return lax.while_loop(lambda s: s[0] < 3, body, (0, jnp.zeros((8, 4))))[1]

    plan = proportional(fn, {"in": X[:4], "w": X[4:] / 4}, X)
    np.testing.assert_allclose(plan.exponents[1], 0, atol=1e-9)


def test_branches_must_agree():
    def fn(params, x):
        x = x @ params["in"]
        return lax.cond(
            x[0, 0] > 0, lambda x: jax.nn.relu(x @ params["w"]), lambda x: -x, x
        )

    proportional(fn, {"in": X[:4], "w": X[4:]}, X)
    plan = swr_optax.plan_rescaling(fn, {"in": X[:4], "w": X[4:]}, X)
    assert "meet in 'cond'" in plan.unmet[0]


def test_map_and_custom_derivatives_and_remat():
    @jax.custom_vjp
    def relu(x):
        return jnp.maximum(x, 0)

    relu.defvjp(lambda x: (relu(x), x), lambda x, g: (g * (x > 0),))

    def fn(params, x):
        hidden = lax.map(jax.checkpoint(lambda x: relu(x @ params["in"])), x)
        return jax.vmap(lambda h: h @ params["out"])(hidden)

    plan = proportional(fn, {"in": X[:4], "out": X[4:]}, X)
    np.testing.assert_array_equal(plan.exponents, np.eye(2))


def test_a_learned_initial_state_follows_as_a_shift():
    def fn(params, x):
        def step(state, x):
            return jax.nn.relu(state @ params["h"] + x @ params["i"]), None

        start = jnp.broadcast_to(params["start"], x.shape)
        return lax.scan(step, start, jnp.stack([x] * 3))[0]

    params = {"h": X[:4] / 4, "i": X[4:], "start": X[0]}
    plan = proportional(fn, params, X)
    assert {leaf.path: leaf.role for leaf in plan.leaves} == {
        "h": "weight",
        "i": "weight",
        "start": "shift",
    }


def test_a_scan_over_many_blocks_plans_in_seconds():
    shape = jax.ShapeDtypeStruct
    params = {
        "blocks": {
            name: shape((96, *sizes), jnp.float32)
            for name, sizes in {
                "norm": (512,),
                "up": (512, 2048),
                "up_bias": (2048,),
                "down": (2048, 512),
                "down_bias": (512,),
            }.items()
        }
    }

    def fn(params, x):
        def block(x, p):
            y = x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True)) * p["norm"]
            y = jax.nn.relu(y @ p["up"] + p["up_bias"])
            return x + y @ p["down"] + p["down_bias"], None

        return lax.scan(block, x, params["blocks"])[0]

    start = time.perf_counter()
    plan = swr_optax.plan_rescaling(fn, params, shape((8, 512), jnp.float32))
    assert time.perf_counter() - start < 20
    assert len(plan.layers) == 3 * 96


def test_a_scan_in_reverse_starts_with_the_last_slice(stacked):
    def fn(params, x):
        def block(x, layer):
            return jax.nn.relu(x @ layer["w"] + layer["b"]), None

        x = x @ params["in"]
        return lax.scan(block, x, params["blocks"], reverse=True)[0] @ params["out"]

    plan = proportional(fn, stacked, X)
    assert [layer.index for layer in plan.layers] == [None, 2, 1, 0, None]
    bias = plan.exponents[plan.leaf_paths.index("blocks/b[1]")]
    np.testing.assert_array_equal(bias, [1, 1, 1, 0, 0])


@pytest.mark.parametrize("branch_first", [True, False])
def test_behind_an_unmet_sum_shifts_follow_the_trunk(branch_first):
    def fn(params, x):
        x = x @ params["trunk"]
        branch = jax.nn.relu(x @ params["up"] + params["up_bias"]) @ params["down"]
        x = branch + x if branch_first else x + branch
        return x @ params["out"] + params["out_bias"]

    params = {
        **dict.fromkeys(("trunk", "up", "down", "out"), X[:4]),
        **dict.fromkeys(("up_bias", "out_bias"), X[0]),
    }
    plan = swr_optax.plan_rescaling(fn, params, X)
    assert [layer.path for layer in plan.layers] == ["trunk", "up", "down", "out"]
    (unmet,) = plan.unmet
    assert "trunk" in unmet or "down" in unmet
    by_path = dict(zip(plan.leaf_paths, plan.exponents.tolist(), strict=True))
    assert by_path["up_bias"] == [1, 1, 0, 0]
    assert by_path["out_bias"] == [1, 0, 0, 1]


def test_a_shift_follows_the_data_though_what_comes_next_is_unmet():
    def fn(params, x):
        return jnp.tanh(x @ params["w"] + params["b"]) @ params["out"]

    params = {"w": X[:4], "b": X[0], "out": X[:4]}
    plan = swr_optax.plan_rescaling(fn, params, X)
    by_path = dict(zip(plan.leaf_paths, plan.exponents.tolist(), strict=True))
    assert by_path["b"] == [1, 0]
    assert len(plan.unmet) == 1


def test_a_state_of_zeros_takes_the_scale_of_later_ones():
    """The states before each step: the first, all zeros, demands nothing."""

    def fn(params, x):
        def step(state, x):
            return jax.nn.relu(x @ params["in"] + params["b"]), state

        states = lax.scan(step, jnp.zeros((8, 4)), jnp.stack([x] * 3))[1]
        return states.sum(0) @ params["out"] + params["c"]

    params = {"in": X[:4], "b": X[0], "out": X[4:], "c": X[1]}
    plan = proportional(fn, params, X)
    np.testing.assert_array_equal(plan.exponents[plan.leaf_paths.index("in")], [1, 0])
    np.testing.assert_array_equal(plan.exponents[plan.leaf_paths.index("c")], [1, 1])


def test_a_parameter_that_a_scan_puts_beside_data_is_a_shift():
    """As it is where the loop is unrolled and its results are stacked."""

    def scanned(params, x):
        def step(carry, w):
            older, newer = carry
            return (x @ w, older), newer

        return lax.scan(step, (params["start"], x), params["w"])[1]

    def unrolled(params, x):
        return jnp.stack([x, params["start"], x @ params["w"][0]])

    params = {"w": jnp.ones((3, 4, 4)), "start": jnp.ones((8, 4))}
    for fn in (scanned, unrolled):
        plan = swr_optax.plan_rescaling(fn, params, X, priority="function")
        roles = {leaf.path: leaf.role for leaf in plan.leaves}
        assert roles["start"] == "shift"

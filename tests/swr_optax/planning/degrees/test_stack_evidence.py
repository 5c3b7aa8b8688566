"""Layers side by side in one array: each slice must count as a layer of its own."""

import equinox as eqx
from flax import nnx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax

MEMBERS = 3
X = jax.random.normal(jax.random.key(1), (32, 5))
IMAGES = jax.random.normal(jax.random.key(1), (4, 6, 6, 2))
SEQUENCES = jax.random.normal(jax.random.key(1), (4, 6, 5))
TOKENS = jax.random.randint(jax.random.key(1), (4, 6), 0, 11)


class Critic(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm(epsilon=1e-9)(nn.relu(nn.Dense(8)(x)))
        return nn.Dense(2)(x)


class Convolutional(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=False)(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Conv(6, (3, 3), feature_group_count=2)(x))
        return nn.Dense(3)(x.reshape(x.shape[0], -1))


class Sequential(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8)(x)
        x = x + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(x))
        return nn.Dense(3)(nn.RNN(nn.GRUCell(8))(x))


class Embedded(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        return nn.Dense(11)(nn.relu(nn.Dense(8)(nn.Embed(11, 8)(tokens))))


def forward(net):
    def fn(params, stats, *inputs):
        variables = {"params": params, **stats}
        return net.apply(variables, *inputs, mutable=[*stats])

    return fn


def variables(net, *inputs):
    rng = np.random.default_rng(0)
    found = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32),
        jax.eval_shape(net.init, jax.random.key(0), *inputs),
    )
    params = found.pop("params")
    return params, jax.tree.map(jnp.abs, found)


def ensemble(cls, in_axes):
    return nn.vmap(
        cls,
        in_axes=in_axes,
        axis_size=MEMBERS,
        variable_axes={"params": 0, "batch_stats": 0},
        split_rngs={"params": True},
    )()


NETS = {
    "critics": (Critic, X, None),
    "critics with data of their own": (Critic, jnp.stack([X, 2 * X, X + 1]), 0),
    "convolutions": (Convolutional, IMAGES, None),
    "convolutions with data of their own": (
        Convolutional,
        jnp.stack([IMAGES, 2 * IMAGES, IMAGES + 1]),
        0,
    ),
    "attention and a recurrent layer": (Sequential, SEQUENCES, None),
    "embeddings": (Embedded, TOKENS, None),
}


@pytest.mark.parametrize("name", NETS)
def test_members_of_an_ensemble_are_planned_as_if_alone(name):
    cls, inputs, in_axes = NETS[name]
    net = ensemble(cls, in_axes)
    params, stats = variables(net, inputs)
    fn = forward(net)
    plan = swr_optax.plan_rescaling(fn, params, inputs, stats=stats)

    member = inputs if in_axes is None else inputs[0]
    alone = cls()
    own, own_stats = variables(alone, member)
    expected = swr_optax.plan_rescaling(forward(alone), own, member, stats=own_stats)
    layers = len(expected.layers)
    assert len(plan.layers) == MEMBERS * layers
    for i in range(MEMBERS):
        rows = [row for row, leaf in enumerate(plan.leaves) if leaf.index == i]
        columns = [j for j, layer in enumerate(plan.layers) if layer.index == i]
        assert [plan.leaves[r].path for r in rows] == [*expected.leaf_paths]
        assert [plan.leaves[r].role for r in rows] == [x.role for x in expected.leaves]
        assert [plan.leaves[r].group for r in rows] == [
            x.group for x in expected.leaves
        ]
        assert [plan.layers[c].path for c in columns] == [
            x.path for x in expected.layers
        ]
        others = np.setdiff1d(np.arange(len(plan.layers)), columns)
        np.testing.assert_array_equal(
            plan.exponents[np.ix_(rows, columns)], expected.exponents
        )
        assert not plan.exponents[np.ix_(rows, others)].any()


@pytest.mark.parametrize("name", NETS)
def test_the_function_is_kept_when_members_are_averaged(name):
    cls, inputs, in_axes = NETS[name]
    net = ensemble(cls, in_axes)
    params, stats = variables(net, inputs)

    def fn(params, stats, inputs):
        outputs, stats = forward(net)(params, stats, inputs)
        return outputs.mean(axis=0), stats

    plan = swr_optax.plan_rescaling(
        fn, params, inputs, stats=stats, priority="function"
    )
    assert not plan.unmet
    assert len(plan.layers) > MEMBERS
    found = swr_optax.check(plan, fn, params, inputs, stats=stats)
    assert found.deviation < 1e-5
    assert found.agreement == 1


def test_norms_says_that_members_differ():
    net = ensemble(Critic, None)
    params, stats = variables(net, X)
    plan = swr_optax.plan_rescaling(forward(net), params, X, stats=stats)
    assert plan.unmet == (
        "Dense_1[0] and Dense_1[1] are returned in 'output' and must share one scale",
        "Dense_1[0] and Dense_1[2] are returned in 'output' and must share one scale",
    )


def test_an_ensemble_trains_as_its_members_do():
    """Each member's norms go their own way back."""
    net = ensemble(Critic, None)
    params, stats = variables(net, X)
    plan = swr_optax.plan_rescaling(forward(net), params, X, stats=stats)
    member_plan = swr_optax.plan_rescaling(
        forward(Critic()), jax.tree.map(lambda p: p[0], params), X, stats={}
    )
    grown = jax.tree.map(
        lambda p: p * jnp.array([1.5, 2.0, 3.0]).reshape(-1, *(1,) * (p.ndim - 1)),
        params,
    )
    tx = swr_optax.soft_weight_rescaling(0.3, plan)
    updates = jax.tree.map(jnp.subtract, grown, params)
    updates, _ = tx.update(updates, tx.init(params), params)
    found = optax.apply_updates(params, updates)

    member_tx = swr_optax.soft_weight_rescaling(0.3, member_plan)
    for i in range(MEMBERS):
        own = jax.tree.map(lambda p, i=i: p[i], params)
        own_updates = jax.tree.map(lambda g, p, i=i: g[i] - p[i], grown, params)
        own_updates, _ = member_tx.update(own_updates, member_tx.init(own), own)
        expected = optax.apply_updates(own, own_updates)
        jax.tree.map(
            lambda f, e, i=i: np.testing.assert_allclose(f[i], e, rtol=2e-6),
            found,
            expected,
        )


def test_equinox_filter_vmap():
    keys = jax.random.split(jax.random.key(0), MEMBERS)
    mlps = eqx.filter_vmap(lambda key: eqx.nn.MLP(5, 2, 8, 2, key=key))(keys)
    params, static = eqx.partition(mlps, eqx.is_inexact_array)

    def fn(params, x):
        def member(mlp, x):
            return jax.vmap(mlp)(x)

        axes = (eqx.if_array(0), None)
        return eqx.filter_vmap(member, in_axes=axes)(eqx.combine(params, static), x)

    plan = swr_optax.plan_rescaling(fn, params, X, priority="function")
    assert [layer.name for layer in plan.layers] == [
        f"layers/{i}/weight[{j}]" for i in range(3) for j in range(MEMBERS)
    ]
    assert {x.path for x in plan.layers if x.group == "classifier"} == {
        "layers/2/weight"
    }
    assert swr_optax.check(plan, fn, params, X).deviation < 1e-5


class Block(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(5, 5, rngs=rngs)
        self.norm = nnx.BatchNorm(5, epsilon=1e-9, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.norm(self.linear(x)))


def stacked_blocks():
    @nnx.split_rngs(splits=MEMBERS)
    @nnx.vmap(in_axes=0)
    def make(rngs):
        return Block(rngs)

    return nnx.split(make(nnx.Rngs(0)), nnx.Param, ...)


@pytest.mark.parametrize("how", ["vmap", "scan"])
def test_nnx(how):
    definition, params, rest = stacked_blocks()

    def fn(params, rest, x):
        blocks = nnx.merge(definition, params, rest)
        if how == "vmap":
            y = nnx.vmap(lambda block, x: block(x), in_axes=(0, None))(blocks, x)
        else:
            axes = (nnx.Carry, 0)
            y = nnx.scan(lambda x, block: block(x), in_axes=axes, out_axes=nnx.Carry)(
                x, blocks
            )
        return y, nnx.split(blocks, nnx.Param, ...)[2]

    plan = swr_optax.plan_rescaling(fn, params, X, stats=rest, priority="function")
    names = {f"{p}[{i}]" for p in ("linear/kernel", "norm/scale") for i in range(3)}
    assert {layer.name for layer in plan.layers} == names
    means = [leaf for leaf in plan.leaves if leaf.path == "norm/mean"]
    assert len(means) == MEMBERS
    assert swr_optax.check(plan, fn, params, X, stats=rest).deviation < 2e-5


def linear(params, x):
    return jax.nn.relu(x @ params["first"]) @ params["second"]


NO_STACKS = {
    "features": (linear, {"first": (5, 5), "second": (5, 5)}, (4, 5)),
    "rows that are added up": (
        lambda p, x: jnp.einsum("bd,dkj->bdkj", x, p["a"]).mean((2, 3)) @ p["b"],
        {"a": (5, 2, 3), "b": (5, 4)},
        (4, 5),
    ),
    "heads": (
        lambda p, x: jnp.einsum(
            "bthk,hkd->btd", jnp.einsum("btd,dhk->bthk", x, p["in"]), p["out"]
        ),
        {"in": (5, 2, 3), "out": (2, 3, 5)},
        (4, 6, 5),
    ),
    "heads in front": (
        lambda p, x: jnp.einsum(
            "bthk,hkd->btd", jnp.einsum("btd,hdk->bthk", x, p["in"]), p["out"]
        ),
        {"in": (2, 5, 3), "out": (2, 3, 5)},
        (4, 6, 5),
    ),
    "a vocabulary": (
        lambda p, x: jnp.einsum(
            "bnd,vnd->bv", p["table"][jnp.argmax(x, -1)], p["table"]
        ),
        {"table": (5, 2, 3)},
        (4, 5),
    ),
    "steps of time": (
        lambda p, x: jax.lax.scan(
            lambda h, xp: (h @ p["w"] + xp[0] + xp[1], None),
            jnp.zeros((4, 5)),
            (x, p["per_step"]),
        )[0],
        {"w": (5, 5), "per_step": (6, 5)},
        (6, 4, 5),
    ),
}


@pytest.mark.parametrize("name", NO_STACKS)
def test_features_are_not_layers(name):
    fn, shapes, shape = NO_STACKS[name]
    params = {key: jnp.ones(size) for key, size in shapes.items()}
    plan = swr_optax.plan_rescaling(fn, params, jnp.ones(shape))
    assert not any(leaf.index is not None for leaf in plan.leaves)


def test_what_no_output_depends_on_says_nothing():
    """A loop that also hands out unused matrices, which scans leave out."""

    def fn(params, x):
        for matrix, gain in zip(params["unused"], params["gains"], strict=True):
            x @ matrix
            x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True)) * gain
        return x

    params = {"unused": jnp.ones((6, 5, 5)), "gains": jnp.ones((6, 5))}
    plan = swr_optax.plan_rescaling(fn, params, X)
    assert not any(leaf.index is not None for leaf in plan.leaves)


def test_experts_that_the_data_weigh_are_layers():
    """Gates are data, and to add up experts by them makes no features of experts."""

    def fn(params, x):
        gates = jax.nn.softmax(x @ params["gates"])
        hidden = jax.nn.relu(jnp.einsum("bd,edh->beh", x, params["up"]))
        experts = jnp.einsum("beh,ehk->bek", hidden, params["down"])
        return jnp.einsum("bek,be->bk", experts, gates)

    shapes = {"gates": (5, 3), "up": (3, 5, 8), "down": (3, 8, 2)}
    rng = np.random.default_rng(0)
    params = {
        k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()
    }
    plan = swr_optax.plan_rescaling(fn, params, X, priority="function")
    experts = {f"{name}[{i}]" for name in ("up", "down") for i in range(3)}
    assert {layer.name for layer in plan.layers} == {"gates", *experts}
    assert swr_optax.check(plan, fn, params, X).deviation < 1e-5

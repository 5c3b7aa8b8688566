"""Plans of real networks: what they say and that it preserves the function."""

import functools
import json
from pathlib import Path
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from networks import LAYERS, images, network, random_network
import paper_rules
import swr_optax
from swr_optax import SoftWeightRescalingState

ALL = ["mlp", "cnn", "cnn_bn"]


def proportionality(old, new):
    """Worst deviation from one constant times the old, relative, and the constant."""
    old, new = np.float64(old).ravel(), np.float64(new).ravel()
    constant = (old @ new) / (old @ old)
    return np.abs(new - constant * old).max() / np.abs(constant * old).max(), constant


def random_log_scalers(plan, seed):
    return jax.random.uniform(
        jax.random.key(seed), (len(plan.layers),), minval=-0.3, maxval=0.3
    )


@pytest.mark.parametrize("mode", ["training", "evaluation"])
@pytest.mark.parametrize("name", ALL)
def test_the_papers_networks_get_the_papers_rules(name, mode):
    net = network(name)
    fn = net.train if mode == "training" else net.evaluate
    for priority in ("norms", "function"):
        plan = swr_optax.plan_rescaling(
            fn, net.params, images(8), stats=net.stats, priority=priority
        )
        assert [layer.path for layer in plan.layers] == [x.weight for x in net.layers]
        expected = paper_rules.exponents(net.layers, plan.leaf_paths)
        np.testing.assert_array_equal(plan.exponents, expected)
        assert not plan.unmet
        assert bool(plan.approximations) == (name == "cnn_bn")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ALL)
def test_rescaling_is_proportional(name, seed):
    """Weights and biases are random; large, so that BatchNorm's ε is small."""
    net = random_network(name, seed, size=3.0)
    plan = net.plan()
    log_scalers = random_log_scalers(plan, seed)
    scaled = swr_optax.rescale(net.params, log_scalers, plan)
    state = SoftWeightRescalingState(
        jnp.int32(1), jnp.ones_like(log_scalers), log_scalers
    )
    scaled_stats = swr_optax.rescale_statistics(net.stats, state, plan)

    for mode in ("training", "evaluation"):
        if mode == "training":
            old, _ = net.train(net.params, net.stats, images(256))
            new, _ = net.train(scaled, scaled_stats, images(256))
        else:
            old = net.evaluate(net.params, net.stats, images(256))
            new = net.evaluate(scaled, scaled_stats, images(256))
        error, constant = proportionality(old, new)
        assert error < 1e-5
        expected = np.exp(plan.output_exponents[0] @ np.asarray(log_scalers))
        np.testing.assert_allclose(constant, expected, rtol=1e-5)
        np.testing.assert_array_equal(jnp.argmax(old, -1), jnp.argmax(new, -1))


def test_statistics_left_alone_change_evaluation():
    net = random_network("cnn_bn", size=3.0)
    plan = net.plan()
    scaled = swr_optax.rescale(net.params, random_log_scalers(plan, 0), plan)
    old = net.evaluate(net.params, net.stats, images(64))
    error, _ = proportionality(old, net.evaluate(scaled, net.stats, images(64)))
    assert error > 1e-2


def test_algorithm_1_as_printed_breaks_proportionality_by_order_lambda():
    """Its last normalisation layer's shift takes one scaler too many.

    With every norm twice its reference, c = 1 - λ/2: the printed rule misses by
    a fraction of λ, while the rule of the library misses by rounding.
    """
    net = random_network("cnn_bn", size=3.0)
    arrays = paper_rules.flat(net.params)
    norms = paper_rules.norms(arrays, net.layers)
    references = [norm / 2 for norm in norms]
    old, _ = net.train(net.params, net.stats, images(256))
    errors = {}
    for as_printed in (False, True):
        for coefficient in (1e-1, 1e-2):
            c = paper_rules.scalers(arrays, net.layers, references, [coefficient] * 6)
            layers = [x.__class__(x.weight, x.bias, x.normalizes) for x in net.layers]
            flat, _ = paper_rules.scale(arrays, layers, c, as_printed=as_printed)
            scaled = {
                module: {
                    name: jnp.asarray(flat[f"{module}/{name}"], jnp.float32)
                    for name in leaves
                }
                for module, leaves in net.params.items()
            }
            new, _ = net.train(scaled, net.stats, images(256))
            errors[as_printed, coefficient], _ = proportionality(old, new)
    assert errors[False, 1e-1] < 1e-5
    assert errors[False, 1e-2] < 1e-5
    # Measured: 0.16 λ of the largest logit (0.3 λ with other random weights).
    for coefficient in (1e-1, 1e-2):
        assert 0.1 < errors[True, coefficient] / coefficient < 0.5


# Where names say nothing.


class Deep(nn.Module):
    """Twelve dense layers: as strings, Dense_10 comes before Dense_2."""

    @nn.compact
    def __call__(self, x):
        for _ in range(11):
            x = nn.relu(nn.Dense(5)(x))
        return nn.Dense(3)(x)


def test_layers_come_in_network_order_not_in_dict_order():
    net = Deep()
    x = jnp.ones((4, 6))
    params = net.init(jax.random.key(0), x)["params"]
    assert list(params)[2] == "Dense_2"
    assert jax.tree.leaves_with_path(params)[5][0][0].key == "Dense_10"
    plan = swr_optax.plan_rescaling(lambda p, x: net.apply({"params": p}, x), params, x)
    assert [layer.path for layer in plan.layers] == [
        f"Dense_{k}/kernel" for k in range(12)
    ]
    followed = plan.exponents[plan.leaf_paths.index("Dense_10/bias")]
    np.testing.assert_array_equal(followed, [1] * 11 + [0])
    assert [layer.group for layer in plan.layers] == ["feature"] * 11 + ["classifier"]


@pytest.mark.parametrize("seed", range(3))
def test_names_do_not_matter(seed):
    """The CNN-BN with all its parameters renamed at random."""
    net = network("cnn_bn")
    rng = np.random.default_rng(seed)
    letters = list("abcdefghijklmnop")
    leaves, structure = jax.tree.flatten(net.params)
    names = [str(name) for name in rng.permutation(letters)[: len(leaves)]]
    renamed = dict(zip(names, leaves, strict=True))

    def fn(params, stats, x):
        ordered = structure.unflatten([params[name] for name in names])
        return net.train(ordered, stats, x)

    plan = swr_optax.plan_rescaling(fn, renamed, images(4), stats=net.stats)
    original = net.plan()
    new_name = dict(zip(original.leaf_paths, names, strict=False))
    assert [x.path for x in plan.layers] == [new_name[x.path] for x in original.layers]
    assert [x.group for x in plan.layers] == [x.group for x in original.layers]
    for path, row in zip(original.leaf_paths, original.exponents, strict=True):
        found = plan.leaf_paths.index(new_name.get(path, path))
        np.testing.assert_array_equal(plan.exponents[found], row)


# Feed-forward layers beyond the paper's.


class Assorted(nn.Module):
    """Group and layer norm, leaky ReLU, average pooling, dropout, flatten."""

    bias: bool

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(8, (3, 3), use_bias=self.bias)(x)
        x = nn.GroupNorm(num_groups=4, use_bias=self.bias)(x)
        x = nn.leaky_relu(x)
        x = nn.avg_pool(x, (2, 2), (2, 2))
        x = nn.Conv(8, (3, 3), strides=(2, 2), use_bias=self.bias)(x)
        x = nn.max_pool(nn.relu(x), (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        x = nn.Dense(16, use_bias=self.bias)(x)
        x = nn.LayerNorm(use_bias=self.bias)(x)
        x = nn.Dense(16, use_bias=self.bias)(nn.relu(x))
        x = nn.BatchNorm(use_running_average=not train, use_bias=self.bias)(x)
        return nn.Dense(10, use_bias=self.bias)(nn.leaky_relu(x))


@pytest.mark.parametrize("bias", [True, False])
def test_assorted_layers_are_proportional_with_dropout_on(bias):
    net = Assorted(bias)
    key = jax.random.key(1)
    variables = net.init(jax.random.key(0), images(1))
    params = jax.tree.map(
        lambda p: 3 * jax.random.normal(key, p.shape), variables["params"]
    )
    stats = variables["batch_stats"]

    def fn(params, stats, x, key):
        return net.apply(
            {"params": params, "batch_stats": stats},
            x,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )

    plan = swr_optax.plan_rescaling(fn, params, images(64), key, stats=stats)
    assert not plan.unmet
    assert len(plan.layers) == 8
    log_scalers = random_log_scalers(plan, 0)
    old, _ = fn(params, stats, images(64), key)
    scaled = swr_optax.rescale(params, log_scalers, plan)
    new, _ = fn(scaled, stats, images(64), key)
    error, constant = proportionality(old, new)
    assert error < 1e-5
    np.testing.assert_array_equal(jnp.argmax(old, -1), jnp.argmax(new, -1))
    # Since the last normalisation layer, its own scaler and the last layer's.
    np.testing.assert_allclose(constant, np.exp(log_scalers[-2:].sum()), rtol=1e-5)


def test_tanh_is_reported_by_one_priority_and_respected_by_the_other():
    def fn(params, x):
        return jnp.tanh(x @ params["w1"]) @ params["w2"]

    params = {"w1": jnp.ones((3, 4)), "w2": jnp.ones((4, 2))}
    norms = swr_optax.plan_rescaling(fn, params, jnp.ones((2, 3)))
    np.testing.assert_array_equal(norms.exponents, np.eye(2))
    assert norms.unmet == (
        "w1 feeds 'tanh', which is not homogeneous: its scale must not change",
    )
    function = swr_optax.plan_rescaling(
        fn, params, jnp.ones((2, 3)), priority="function"
    )
    np.testing.assert_array_equal(function.exponents, [[0, 0], [0, 1]])
    assert not function.unmet


def test_what_has_no_rule_is_left_alone_and_reported():
    def fn(params, x):
        return jax.lax.linalg.qr(params["w1"])[1] @ (x @ params["w2"]).T

    params = {"w1": jnp.ones((3, 4)), "w2": jnp.ones((3, 4))}
    plan = swr_optax.plan_rescaling(fn, params, jnp.ones((2, 3)))
    assert [layer.path for layer in plan.layers] == ["w2"]
    assert plan.unmet == (
        "w1 feeds 'qr', for which there is no rule: its scale must not change",
    )


def test_what_comes_after_a_function_is_not_said_to_be_in_it():
    def fn(params, x):
        values = x @ params["v"]
        return values, jax.nn.softmax(x @ params["w"])

    params = {"v": jnp.ones((3, 1)), "w": jnp.ones((3, 4))}
    plan = swr_optax.plan_rescaling(fn, params, jnp.ones((2, 3)), keep_outputs=["0"])
    assert plan.unmet == (
        "w feeds 'exp', which is not homogeneous: its scale must not change"
        " (in softmax)",
        "output 0 must be kept",
    )


# Roles.


def test_roles_can_be_overridden():
    """A gain that follows, and a learned position that has a norm of its own."""

    def fn(params, x):
        x = jax.nn.relu((x + params["position"]) @ params["w1"]) * params["gain"]
        return x @ params["w2"]

    params = {
        "position": jnp.ones((2, 3)),
        "w1": jnp.ones((3, 4)),
        "gain": jnp.ones(4),
        "w2": jnp.ones((4, 2)),
    }
    told = {"position": "weight", "gain": "shift"}
    plan = swr_optax.plan_rescaling(fn, params, jnp.ones((2, 3)), role_fn=told.get)
    assert [x.path for x in plan.layers] == ["position", "w1", "w2"]
    roles = {leaf.path: leaf.role for leaf in plan.leaves}
    assert roles == {**told, "w1": "weight", "w2": "weight"}
    # Nothing is added behind the gain, so it has nothing to follow.
    rows = dict(zip(plan.leaf_paths, plan.exponents, strict=True))
    np.testing.assert_array_equal(rows["gain"], [0, 0, 0])
    np.testing.assert_array_equal(rows["position"], [1, 0, 0])


def test_unknown_roles_are_refused():
    with pytest.raises(ValueError, match="role_fn gives w the role 'bias': it must be"):
        swr_optax.plan_rescaling(
            lambda p, x: x @ p["w"],
            {"w": jnp.ones((3, 2))},
            jnp.ones((2, 3)),
            role_fn={"w": "bias"}.get,
        )


# Groups.


@pytest.mark.parametrize(
    ("name", "classifier"), [("mlp", 1), ("cnn", 2), ("cnn_bn", 2)]
)
def test_the_classifier_is_what_the_paper_says(name, classifier):
    plan = network(name).plan()
    groups = ["feature"] * (len(plan.layers) - classifier) + ["classifier"] * classifier
    assert [layer.group for layer in plan.layers] == groups
    by_path = {leaf.path: leaf.group for leaf in plan.leaves}
    for layer, group in zip(LAYERS[name], groups, strict=True):
        for path in (layer.weight, layer.bias, layer.mean, layer.variance):
            assert path is None or by_path[path] == group


EMBEDDED = {
    "pooled": lambda p, e: jax.nn.relu(e).mean(1) @ p["o"],
    "each token": lambda p, e: jax.nn.relu(jax.nn.relu(e) @ p["w"]) @ p["o"],
    "positions": lambda p, e: (
        jax.nn.relu(jax.nn.relu(e + p["positions"]) @ p["w"]) @ p["o"]
    ),
    "positions, pooled": lambda p, e: (
        jax.nn.relu(e + p["positions"]).mean(1) @ p["w"] @ p["o"]
    ),
    "a single token": lambda p, e: jax.nn.relu(e[:, 0]) @ p["o"],
    "all in one": lambda p, e: (
        jax.nn.relu(e[:, :2].reshape(2, -1) @ jnp.tile(p["w"], (2, 1))) @ p["o"]
    ),
}


@pytest.mark.parametrize("name", EMBEDDED)
def test_what_is_looked_up_has_the_groups_of_a_product_with_one_hot_vectors(name):
    params = {
        "e": jnp.ones((11, 8)),
        "o": jnp.ones((8, 3)),
        "positions": jnp.ones((5, 8)),
        "w": jnp.ones((8, 8)),
    }
    tokens = jnp.zeros((2, 5), int)
    found = [
        swr_optax.plan_rescaling(
            lambda p, t, embed=embed: EMBEDDED[name](p, embed(p, t)), params, tokens
        )
        for embed in (
            lambda p, t: p["e"][t],
            lambda p, t: jax.nn.one_hot(t, 11) @ p["e"],
        )
    ]
    looked_up, multiplied = (
        {leaf.name: (leaf.role, leaf.group) for leaf in plan.leaves} for plan in found
    )
    assert looked_up == multiplied
    assert looked_up["e"] == ("weight", "feature")
    per_token = name in ("each token", "positions")
    assert looked_up["o"] == ("weight", "feature" if per_token else "classifier")


def test_group_fn_names_groups_by_path():
    plan = network("mlp").plan(group_fn=lambda path: path.split("/")[0].lower())
    assert plan.groups == ("dense_0", "dense_1", "dense_2")
    assert {leaf.path: leaf.group for leaf in plan.leaves}["Dense_1/bias"] == "dense_1"


# Frozen parts.


def test_excluded_parameters_never_scale_and_the_function_is_kept():
    net = random_network("mlp")
    plan = net.plan(
        exclude=lambda path: path.startswith("Dense_1"), priority="function"
    )
    assert [layer.path for layer in plan.layers] == ["Dense_0/kernel", "Dense_2/kernel"]
    log_scalers = random_log_scalers(plan, 3)
    scaled = swr_optax.rescale(net.params, log_scalers, plan)
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(
            scaled["Dense_1"][name], net.params["Dense_1"][name]
        )
    old = net.evaluate(net.params, {}, images(64))
    error, _ = proportionality(old, net.evaluate(scaled, {}, images(64)))
    assert error < 1e-5
    assert {leaf.role for leaf in plan.leaves if "Dense_1" in leaf.path} == {"frozen"}


def test_what_a_frozen_part_leaves_unmet_is_named():
    plan = swr_optax.plan_rescaling(
        lambda p, x: x @ p["w"] + p["b"],
        {"w": jnp.ones((3, 2)), "b": jnp.ones(2)},
        jnp.ones((1, 3)),
        exclude=lambda path: path == "b",
    )
    assert plan.unmet == ("w and b meet in 'add' and must share one scale",)


# Nothing is computed.


def test_shapes_are_enough():
    net = network("cnn_bn")
    as_shapes = jax.eval_shape(lambda: (net.params, net.stats, images(256)))
    plan = swr_optax.plan_rescaling(
        net.train, as_shapes[0], as_shapes[2], stats=as_shapes[1]
    )
    assert plan.to_json() == net.plan().to_json()


def test_a_huge_network_costs_nothing():
    shape = jax.ShapeDtypeStruct((100_000, 100_000), jnp.float32)
    plan = swr_optax.plan_rescaling(
        lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"],
        {"a": shape, "b": shape},
        jax.ShapeDtypeStruct((64, 100_000), jnp.float32),
    )
    np.testing.assert_array_equal(plan.exponents, np.eye(2))


GUARDED = {
    "equal": lambda n: jnp.where(n == 0, 1.0, n),
    "unequal": lambda n: jnp.where(n != 0, n, 2.0),
    "above": lambda n: jnp.where(n > 0, n, 1.0),
    "below": lambda n: jnp.where(n < 0, 1.0, n),
    "not below": lambda n: jnp.where(n >= 0, n, 1.0),
    "zero above": lambda n: jnp.where(jnp.greater(0, n), 1.0, n),
    "zero not above": lambda n: jnp.where(jnp.less_equal(0, n), n, 1.0),
    "zero below": lambda n: jnp.where(jnp.less(0, n), n, 1.0),
    "not above": lambda n: jnp.where(n <= 0, 1.0, n),
    "zero not below": lambda n: jnp.where(jnp.greater_equal(0, n), 1.0, n),
    "all zero": lambda n: jnp.where(jnp.all(n == 0), 1.0, n),
    "not all zero": lambda n: jnp.where(~(n == 0).any(), n, 1.0),
    "finite": lambda n: jnp.where(jnp.isfinite(n), n, 1.0),
    "finite and not zero": lambda n: jnp.where(jnp.isfinite(n) & (n != 0), n, 1.0),
    "not a number": lambda n: jnp.where(jnp.isnan(n) | (n == 0), 1.0, n),
}
NORMS = {
    "norm": lambda guard, w: guard(jnp.linalg.norm(w)),
    "squares": lambda guard, w: jnp.sqrt(guard((w**2).sum(0))),
    "product": lambda guard, w: jnp.sqrt(guard((w * w).sum(0) + (w * w).max())),
    "sizes": lambda guard, w: guard(jnp.abs(w).max(0)[None]),
}


def divided(norm):
    """A network that divides a weight by what is made of it."""

    def fn(params, x):
        hidden = x @ (params["w"] / norm(params["w"])) + params["b"]
        return jax.nn.relu(hidden) @ params["out"]

    keys = jax.random.split(jax.random.key(0), 4)
    shapes = {"w": (6, 8), "b": (8,), "out": (8, 3)}
    params = {
        name: jax.random.normal(key, shape)
        for key, (name, shape) in zip(keys, shapes.items(), strict=False)
    }
    return fn, params, jax.random.normal(keys[3], (4, 6))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("guard", GUARDED)
def test_a_constant_may_guard_a_norm_that_is_divided_by(guard, norm):
    fn, params, x = divided(functools.partial(NORMS[norm], GUARDED[guard]))
    plan = swr_optax.plan_rescaling(fn, params, x)
    assert not plan.unmet
    assert all("where that is zero or not finite" in it for it in plan.approximations)
    assert plan.approximations
    assert swr_optax.check(plan, fn, params, x).deviation < 1e-5
    kept = swr_optax.plan_rescaling(fn, params, x, priority="function")
    assert not any(sentence.startswith("w,") for sentence in kept.left_alone)
    assert swr_optax.check(kept, fn, params, x).deviation < 1e-5


@pytest.mark.parametrize(
    "size",
    [
        # It may be below zero for good.
        lambda w: jnp.where(w.sum() > 0, w.sum(), 1.0),
        lambda w: jnp.where((w**3).sum() > 0, (w**3).sum(), 1.0),
        lambda w: jnp.where((w * w[::-1]).sum() > 0, (w * w[::-1]).sum(), 1.0),
        lambda w: jnp.where(jnp.linalg.norm(w) - 1 > 0, jnp.linalg.norm(w), 1.0),
        # Whether it is large is no matter of a guard.
        lambda w: jnp.where(jnp.linalg.norm(w) > 0.5, jnp.linalg.norm(w), 1.0),
        lambda w: jnp.where((w == 0) ^ (w == 1), 1.0, w),
        # It is the constant that is there for most.
        lambda w: jnp.where(jnp.linalg.norm(w) > jnp.inf, jnp.linalg.norm(w), 1.0),
        lambda w: jnp.where(jnp.linalg.norm(w) == 0, jnp.linalg.norm(w), 1.0),
        lambda w: jnp.where(jnp.linalg.norm(w) < 0, jnp.linalg.norm(w), 1.0),
        # Nothing is divided by it.
        lambda w: 1 / (jnp.where((n := jnp.linalg.norm(w)) > 0, n, 1.0) + n),
    ],
)
def test_a_constant_that_may_be_there_is_reported(size):
    fn, params, x = divided(size)
    plan = swr_optax.plan_rescaling(fn, params, x)
    assert any(" meet" in words for words in plan.unmet)
    kept = swr_optax.plan_rescaling(fn, params, x, priority="function")
    assert not kept.unmet
    assert any(sentence.startswith("w, ") for sentence in kept.left_alone)


@pytest.mark.parametrize("sign", [jax.nn.relu, jnp.isfinite, jnp.linalg.norm])
def test_a_guard_of_data_is_reported(sign):
    """They are often zero, as behind a ReLU."""

    def fn(params, x):
        hidden = jax.nn.relu(x @ params["w"])
        size = sign(hidden) if sign is not jnp.isfinite else hidden
        whole = sign(size) if sign is jnp.isfinite else size != 0
        return (hidden / jnp.where(whole, size, 1.0)) @ params["out"]

    params = {"w": jnp.eye(6, 8) - 0.5, "out": jnp.ones((8, 3))}
    plan = swr_optax.plan_rescaling(fn, params, jnp.ones((4, 6)))
    assert any("the number 1" in words for words in plan.unmet)


@pytest.mark.parametrize("norm", [jnp.linalg.norm, lambda w, **k: abs(w).max(**k)])
def test_a_guard_of_what_was_looked_up_is_reported(norm):
    """A table's row for padding is zero for good."""

    def fn(params, tokens):
        rows = params["table"][tokens]
        norms = norm(rows, axis=-1, keepdims=True)
        return rows / jnp.where(norms > 0, norms, 1.0) @ params["out"]

    params = {"table": jnp.ones((9, 8)), "out": jnp.ones((8, 3))}
    plan = swr_optax.plan_rescaling(fn, params, jnp.zeros(4, int))
    assert any("the number 1" in words for words in plan.unmet)


@pytest.mark.parametrize("number", [0.0, jnp.inf])
def test_a_guard_that_has_every_scale_is_exact(number):
    fn, params, x = divided(
        lambda w: jnp.where((n := jnp.linalg.norm(w)) == 0, number, n)
    )
    plan = swr_optax.plan_rescaling(fn, params, x)
    assert not plan.unmet
    assert not plan.approximations


@pytest.mark.parametrize("priority", ["norms", "function"])
def test_flax_spectral_norm_is_exact(priority):
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.SpectralNorm(nn.Dense(8))(x, update_stats=True)
            return nn.Dense(3)(nn.relu(x))

    net, x = Network(), jax.random.normal(jax.random.key(1), (4, 6))
    variables = net.init(jax.random.key(0), x)
    params, stats = variables["params"], {"batch_stats": variables["batch_stats"]}

    def fn(params, stats, x):
        return net.apply({"params": params, **stats}, x, mutable=["batch_stats"])

    plan = swr_optax.plan_rescaling(fn, params, x, stats=stats, priority=priority)
    assert not plan.unmet
    assert not any("kernel," in sentence for sentence in plan.left_alone)
    assert swr_optax.check(plan, fn, params, x, stats=stats).deviation < 1e-5


# Mistakes.


def test_a_network_without_weights_is_refused():
    with pytest.raises(ValueError, match="multiplies its inputs by none"):
        swr_optax.plan_rescaling(
            lambda p, x: x + p["b"], {"b": jnp.ones(3)}, jnp.ones(3)
        )


def test_integer_parameters_are_refused():
    with pytest.raises(TypeError, match="parameter w has dtype int32, which cannot"):
        swr_optax.plan_rescaling(
            lambda p, x: x @ p["w"],
            {"w": jnp.ones((3, 3), jnp.int32)},
            jnp.ones((1, 3)),
        )


def test_an_unknown_priority_is_refused():
    net = network("mlp")
    with pytest.raises(ValueError, match=r"priority must be one of .* not 'speed'"):
        net.plan(priority="speed")


@pytest.mark.parametrize("priority", ["norms", "function"])
def test_seven_billion_parameters_plan_in_seconds(priority):
    script = Path(__file__).parents[2] / "plan_seven_billion.py"
    command = [sys.executable, script, priority]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["parameters"] > 6.5e9
    assert found["layers"] == 3 + 32 * 9
    assert found["seconds"] < 30
    assert found["gigabytes"] < 2


def scaled_by(plan, path):
    """The layers whose scalers move a leaf, with their exponents."""
    (row,) = plan.exponents[[leaf.path == path for leaf in plan.leaves]]
    names = [layer.name for layer in plan.layers]
    return {name: value for name, value in zip(names, row, strict=True) if value}


def test_statistics_of_observations_stay_where_weights_disagree():
    """A residual network behind a running normaliser of its inputs, as SimBa has it."""

    def normed(x):
        return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True))

    def fn(params, stats, x):
        mean = stats["mean"] + (x.mean(0) - stats["mean"]) / 9
        square = jnp.square(x - stats["mean"]).mean(0)
        var = stats["var"] + (square - stats["var"]) / 9
        x = (x - stats["mean"]) * jax.lax.rsqrt(stats["var"]) @ params["in"]
        x = x + jax.nn.relu(normed(x) @ params["up"]) @ params["down"]
        return normed(x) @ params["out"], {"mean": mean, "var": var}

    shapes = {"in": (5, 8), "up": (8, 16), "down": (16, 8), "out": (8, 2)}
    params = {name: jnp.ones(shape) for name, shape in shapes.items()}
    stats = {"mean": jnp.zeros(5), "var": jnp.ones(5)}
    plan = swr_optax.plan_rescaling(fn, params, jnp.ones((4, 5)), stats=stats)
    assert any("meet in 'add'" in line for line in plan.unmet)
    assert not any("must follow" in line or "update" in line for line in plan.unmet)
    assert scaled_by(plan, "mean") == scaled_by(plan, "var") == {}


def test_a_frozen_batchnorm_follows_what_it_measured_and_nothing_else():
    def norm(name, params, stats, x):
        x = (x - stats[name]["mean"]) * jax.lax.rsqrt(stats[name]["var"])
        return x * params[name]["scale"]

    def fn(params, stats, x):
        x = norm("one", params, stats, x @ params["in"])
        return x + norm("two", params, stats, jax.nn.relu(x) @ params["w"])

    params = {"in": jnp.ones((5, 8)), "w": jnp.ones((8, 8))}
    params |= {name: {"scale": jnp.ones(8)} for name in ("one", "two")}
    stats = {n: {"mean": jnp.zeros(8), "var": jnp.ones(8)} for n in ("one", "two")}
    plan = swr_optax.plan_rescaling(fn, params, jnp.ones((4, 5)), stats=stats)
    assert any("meet in 'add'" in line for line in plan.unmet)
    assert scaled_by(plan, "one/mean") == {"in": 1}
    assert scaled_by(plan, "one/var") == {"in": 2}
    assert scaled_by(plan, "two/mean") == {"one/scale": 1, "w": 1}
    assert scaled_by(plan, "two/var") == {"one/scale": 2, "w": 2}

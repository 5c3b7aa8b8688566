"""Units in scans are those of the same layers one behind the other."""

import functools

import chex
import flax.linen as nn
import haiku as hk
from hypothesis import given, settings, strategies as st
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from scanned_blocks import (
    BLOCKS,
    X,
    apart,
    name_in_stack,
    parameters,
    scanned,
    unrolled,
)
import swr_optax
from unit_changes import (
    RESETS,
    assert_statistics_of_each,
    listed,
    permuted,
    sorted_rows,
    with_resets,
)

KEY = jax.random.key(0)


@functools.cache
def both(blocks, reverse=False):
    """Parameters and plans of the network with a scan and without."""
    params = parameters(blocks, KEY)
    stacked = swr_optax.plan_rescaling(scanned(blocks, reverse), params, X)
    single = swr_optax.plan_rescaling(unrolled(blocks, reverse), apart(params), X)
    return params, stacked, single


@given(
    blocks=st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=2).map(tuple),
    reverse=st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_units_are_those_of_the_layers_one_behind_the_other(blocks, reverse):
    _, stacked, single = both(blocks, reverse)
    found, expected = listed(stacked), listed(single, name_in_stack)
    assert sorted(found) == sorted(expected)


def cast(stack):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), stack)


@pytest.mark.parametrize(
    "options", [{"wrap": jax.jit}, {"wrap": jax.checkpoint}, {"prepared": cast}]
)
def test_how_a_layer_is_called_makes_no_difference(options):
    params, plan, _ = both(("residual",))
    other = swr_optax.plan_rescaling(scanned(("residual",), **options), params, X)
    assert plan.units
    assert other.units == plan.units


@pytest.mark.parametrize("blocks", [*((name,) for name in BLOCKS), ("plain", "gated")])
def test_activations_and_gradients_are_those_of_the_layers(blocks):
    params, stacked, single = both(blocks)
    assert stacked.units

    def run(fn, plan, params):
        def loss(params):
            outputs, found = swr_optax.with_activations(fn, plan)(params, X)
            return jnp.sin(outputs).sum(), found

        return jax.jit(jax.grad(loss, has_aux=True))(params)

    grads, found = run(scanned(blocks), stacked, params)
    expected_grads, expected = run(unrolled(blocks), single, apart(params))
    chex.assert_trees_all_close(apart(grads), expected_grads, rtol=1e-4, atol=1e-5)
    by_place = dict(zip(listed(single, name_in_stack), expected, strict=True))
    for place, activation in zip(listed(stacked), found, strict=True):
        other = sorted_rows(by_place[place])
        np.testing.assert_allclose(sorted_rows(activation), other, rtol=1e-4, atol=1e-5)


def recurrent(params, x):
    def step(state, now):
        state = jax.nn.relu(now @ params["w"] + state @ params["u"])
        return state, None

    last, _ = lax.scan(step, jnp.zeros((x.shape[0], 4)), x.swapaxes(0, 1))
    return last @ params["out"]


def test_a_recurrent_layer_s_activations_are_its_states():
    """What enters u at each step, zeros first, and then what enters out."""
    keys = jax.random.split(KEY, 3)
    shapes = {"w": (5, 4), "u": (4, 4), "out": (4, 2)}
    params = {
        name: jax.random.normal(key, shape)
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    plan = swr_optax.plan_rescaling(recurrent, params, X)
    assert listed(plan) == [(4, False, ("u 1", "w 1"), ("out 0", "u 0"))]
    _, (found,) = swr_optax.with_activations(recurrent, plan)(params, X)
    w, u = (np.asarray(params[name]) for name in ("w", "u"))
    states = [np.zeros((4, 4))]
    for now in np.asarray(X).swapaxes(0, 1):
        states.append(np.maximum(now @ w + states[-1] @ u, 0))
    assert found.shape == (4 * 4, 4)
    np.testing.assert_allclose(
        sorted_rows(found), sorted_rows(np.concatenate(states)), rtol=1e-4, atol=1e-5
    )


def twice(params, x):
    """The same stack in two scans, so that no layer is alone."""

    def layer(h, own):
        return h + jax.nn.relu(h @ own["a"]) @ own["b"], None

    h, _ = lax.scan(layer, x, params)
    return lax.scan(layer, h, params)[0]


def turned(params, x):
    """Of each layer one weight and of another the other."""

    def layer(h, own):
        return h + jax.nn.relu(h @ own[0]) @ own[1], None

    return lax.scan(layer, x, (params["a"], params["b"][::-1]))[0]


def chosen_by_counter(params, x):
    def layer(h, i):
        own = jax.tree.map(lambda leaf: leaf[i], params)
        return h + jax.nn.relu(h @ own["a"]) @ own["b"], None

    return lax.scan(layer, x, jnp.arange(3))[0]


def stacked_states(params, x):
    """What a layer's units put out is returned, and meets that of others."""

    def layer(h, own):
        hidden = jax.nn.relu(h @ own["a"])
        return h + hidden @ own["b"], hidden

    h, hidden = lax.scan(layer, x, params)
    return h + hidden.sum() + jnp.flip(hidden, 0).prod()


def late(params, x):
    """Each layer but the first is given what does not come from the one before."""
    hidden = jax.nn.relu(x @ params["w"])

    def layer(state, own):
        return hidden, state @ own

    return lax.scan(layer, jnp.zeros((2, 7)), params["a"])[1].sum(0)


def test_a_state_that_is_replaced_by_an_outer_value_is_in_the_next_rounds():
    params = {"w": jnp.ones((5, 7)), "a": jnp.ones((3, 7, 4))}
    plan = swr_optax.plan_rescaling(late, params, jnp.ones((2, 5)))
    assert listed(plan) == [(7, False, ("w 1",), ("a[1] 0", "a[2] 0"))]


STACK = {"a": jnp.ones((3, 5, 7)), "b": jnp.ones((3, 7, 5))}


def test_layers_that_are_used_twice_have_units_of_their_own():
    plan = swr_optax.plan_rescaling(twice, STACK, jnp.ones((2, 5)))
    assert listed(plan) == [
        (7, False, (f"a[{layer}] 1",), (f"b[{layer}] 0",)) for layer in range(3)
    ]


def test_layers_whose_states_meet_have_units_together():
    plan = swr_optax.plan_rescaling(stacked_states, STACK, jnp.ones((2, 5)))
    sides = [
        tuple(f"{name}[{i}] {axis}" for i in range(3)) for name, axis in ("a1", "b0")
    ]
    assert listed(plan) == [(7, True, *sides)]


def by_index(params, x):
    for i in range(3):
        x = x + jax.nn.relu(x @ params["a"][i]) @ params["b"][i - 3]
    return x


def by_iteration(params, x):
    for a, b in zip(params["a"], params["b"], strict=True):
        x = x + jax.nn.relu(x @ a) @ b
    return x


def by_split(params, x):
    parts = [jnp.split(params[name].astype(jnp.float16), 3) for name in "ab"]
    for a, b in zip(*parts, strict=True):
        x = x + jax.nn.relu(x @ a[0]) @ b[0]
    return x


def in_a_scan_over_steps(params, x):
    def step(h, _):
        return by_index(params, h), None

    return lax.scan(step, x, None, 2)[0]


@pytest.mark.parametrize("fn", [by_index, by_iteration, by_split, in_a_scan_over_steps])
def test_layers_that_are_taken_out_one_by_one_have_units_of_their_own(fn):
    plan = swr_optax.plan_rescaling(fn, STACK, jnp.ones((2, 5)))
    assert listed(plan) == [
        (7, False, (f"a[{layer}] 1",), (f"b[{layer}] 0",)) for layer in range(3)
    ]


def turned_by_index(params, x):
    for i in range(3):
        x = x + jax.nn.relu(x @ params["a"][i]) @ params["b"][2 - i]
    return x


def test_layers_that_are_taken_out_need_not_be_those_of_one_index():
    plan = swr_optax.plan_rescaling(turned_by_index, STACK, jnp.ones((2, 5)))
    assert listed(plan) == [
        (7, False, (f"a[{layer}] 1",), (f"b[{2 - layer}] 0",)) for layer in range(3)
    ]


def two_at_once(params, x):
    h = by_index(params, x)
    return h + jnp.einsum("lbh,lhd->bd", h @ params["a"][1:], params["b"][1:])


def half_of_each(params, x):
    for i in range(3):
        x = x + jax.nn.relu(x @ params["a"][i, :, :4]) @ params["b"][i, :4]
    return x


@pytest.mark.parametrize("fn", [two_at_once, half_of_each])
def test_layers_of_which_more_or_less_is_taken_out_have_none(fn):
    assert swr_optax.plan_rescaling(fn, STACK, jnp.ones((2, 5))).units == ()


@pytest.mark.parametrize("fn", [turned, chosen_by_counter])
def test_layers_of_what_the_plan_keeps_whole_have_their_units_together(fn):
    keys = jax.random.split(KEY)
    params = {
        "a": jax.random.normal(keys[0], (3, 5, 7)),
        "b": jax.random.normal(keys[1], (3, 7, 5)),
    }
    x = jnp.ones((2, 5))
    plan = swr_optax.plan_rescaling(fn, params, x)
    (units,) = plan.units
    order = np.random.default_rng(0).permutation(7)
    moved, _ = permuted(params, None, plan, units, order)
    expected = {"a": params["a"][:, :, order], "b": params["b"][:, order]}
    chex.assert_trees_all_equal(moved, expected)
    np.testing.assert_allclose(fn(moved, x), fn(params, x), rtol=1e-5)


def with_a_part_of_each(params, x):
    """Of each layer's matrix only some columns."""
    for i in range(3):
        columns = params["a"][i][:, 2:6]
        x = x + jax.nn.relu(x @ params["w"] + x @ columns) @ params["v"]
    return x


def with_a_part_at_once(params, x):
    for i in range(3):
        columns = params["a"][i, :, 2:6]
        x = x + jax.nn.relu(x @ params["w"] + x @ columns) @ params["v"]
    return x


@pytest.mark.parametrize("fn", [with_a_part_of_each, with_a_part_at_once])
def test_a_part_of_a_layer_is_where_it_is(fn):
    shapes = {"a": (3, 5, 7), "w": (5, 4), "v": (4, 5)}
    params = {
        name: jax.random.normal(key, shape) / 2
        for key, (name, shape) in zip(
            jax.random.split(KEY, 3), shapes.items(), strict=True
        )
    }
    x = jax.random.normal(KEY, (2, 5))
    plan = swr_optax.plan_rescaling(fn, params, x)
    (units,) = plan.units
    order = np.random.default_rng(0).permutation(units.count)
    moved, _ = permuted(params, None, plan, units, order)
    np.testing.assert_allclose(fn(moved, x), fn(params, x), rtol=1e-4, atol=1e-5)


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, h, _):
        norm = nn.BatchNorm(use_running_average=False)
        return h + nn.Dense(6)(nn.relu(norm(nn.Dense(8)(h)))), None


class LinenStack(nn.Module):
    @nn.compact
    def __call__(self, x):
        axes = {"params": 0, "batch_stats": 0}
        split = {"params": True}
        layers = nn.scan(
            nn.remat(Normalised), variable_axes=axes, split_rngs=split, length=3
        )
        return nn.Dense(2)(layers()(nn.Dense(6)(x), None)[0])


def test_running_statistics_of_a_stack_are_those_of_its_layers():
    norm = "batch_stats/ScanCheckpointNormalised_0/BatchNorm_0"
    x = jax.random.normal(KEY, (4, 5))
    assert_statistics_of_each(LinenStack(), x, norm, 3)


def test_a_stack_of_haiku_has_units_in_each_layer():
    def layer(h):
        return h + hk.Linear(6)(jax.nn.relu(hk.Linear(8)(h)))

    net = hk.without_apply_rng(
        hk.transform(lambda x: hk.experimental.layer_stack(3)(layer)(x))
    )
    x = jnp.ones((4, 6))
    plan = swr_optax.plan_rescaling(net.apply, net.init(KEY, x), x)
    path = "__layer_stack_no_per_layer"
    assert listed(plan) == [
        (
            8,
            False,
            (f"{path}/linear_1/b[{i}] 0", f"{path}/linear_1/w[{i}] 1"),
            (f"{path}/linear/w[{i}] 0",),
        )
        for i in range(3)
    ]


@pytest.mark.parametrize("name", RESETS)
def test_resets_are_those_of_the_layers_one_behind_the_other(name):
    blocks = ("residual",)
    params, stacked, single = both(blocks)
    params = jax.tree.map(lambda leaf: leaf, params)  # Others have it too.
    params["stack"]["0"]["bias"] -= 1.0  # Some units are silent.
    init = functools.partial(parameters, blocks)

    found, moments = with_resets(name, scanned(blocks), stacked, params, init, X)
    fresh = lambda key: apart(init(key))  # noqa: E731
    expected, expected_moments = with_resets(
        name, unrolled(blocks), single, apart(params), fresh, X
    )
    for one, other in zip(found, expected, strict=True):
        chex.assert_trees_all_close(apart(one), other, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(
        apart(moments.mu), expected_moments.mu, rtol=1e-4, atol=1e-5
    )
    silent = [(leaf["stack"]["0"]["bias"] == 0).any() for leaf in found]
    assert any(silent)  # Something was reset.

"""Units of networks that run side by side are those of each network alone."""

import functools

import chex
from flax import nnx
import flax.linen as nn
from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scanned_blocks import BLOCKS, X, apart, parameters, unrolled
import swr_optax
from unit_changes import (
    RESETS,
    assert_statistics_of_each,
    listed,
    permuted,
    plan_of_any_order,
    sorted_rows,
    with_resets,
)

KEY = jax.random.key(0)
MEMBERS = 2


def ensemble(blocks, shared_input=True, last=False):
    """A network for each slice of its parameters."""
    axis = -1 if last else 0
    return jax.vmap(unrolled(blocks), (0, None if shared_input else 0), axis)


@functools.cache
def both(blocks, shared_input=True, last=False):
    """Parameters and input of an ensemble, its plan, and that of one member."""
    keys = jax.random.split(KEY, MEMBERS)
    params = jax.vmap(lambda key: apart(parameters(blocks, key)))(keys)
    x = X if shared_input else jnp.stack([X + k for k in range(MEMBERS)])
    fn = ensemble(blocks, shared_input, last)
    return (
        params,
        x,
        swr_optax.plan_rescaling(fn, params, x),
        swr_optax.plan_rescaling(unrolled(blocks), member_of(params, 0), X),
    )


def member_of(tree, member):
    return jax.tree.map(lambda leaf: leaf[member], tree)


def named(single, member):
    """The units of a network alone, as a member of the ensemble has them."""
    return listed(single, lambda name: f"{name}[{member}]")


@given(
    blocks=st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=2).map(tuple),
    shared_input=st.booleans(),
    last=st.booleans(),
)
@settings(deadline=None, max_examples=12)
def test_units_are_those_of_each_member(blocks, shared_input, last):
    *_, plan, single = both(blocks, shared_input, last)
    expected = [place for k in range(MEMBERS) for place in named(single, k)]
    assert sorted(listed(plan)) == sorted(expected)


@pytest.mark.parametrize("blocks", [*((name,) for name in BLOCKS), ("plain", "gated")])
@pytest.mark.parametrize("last", [False, True])
def test_activations_are_those_of_each_member(blocks, last):
    params, x, plan, single = both(blocks, last=last)
    assert plan.units
    run = swr_optax.with_activations(ensemble(blocks, last=last), plan)
    outputs, found = jax.jit(run)(params, x)
    by_place = dict(zip(listed(plan), found, strict=True))
    alone = jax.jit(swr_optax.with_activations(unrolled(blocks), single))
    for member in range(MEMBERS):
        expected, activations = alone(member_of(params, member), x)
        output = outputs[..., member] if last else outputs[member]
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
        for place, activation in zip(named(single, member), activations, strict=True):
            np.testing.assert_allclose(
                sorted_rows(by_place[place]),
                sorted_rows(activation),
                rtol=1e-4,
                atol=1e-5,
            )


E, B, D, H = 3, 4, 5, 7
STACK = {
    name: jax.random.normal(key, shape)
    for key, (name, shape) in zip(
        jax.random.split(KEY, 4),
        {"up": (E, D, H), "down": (E, H, D), "out": (H, D), "gate": (D, E)}.items(),
        strict=True,
    )
}
INPUT = jax.random.normal(KEY, (B, D))


def hidden(params, x):
    return jax.nn.relu(jnp.einsum("bd,edh->ebh", x, params["up"]))


def experts(params, x):
    """A mixture, with all experts on all inputs."""
    shares = jax.nn.softmax(x @ params["gate"])
    outputs = jnp.einsum("ebh,ehd->bed", hidden(params, x), params["down"])
    return jnp.einsum("be,bed->bd", shares, outputs)


def against_all(params, x):
    """What each member puts out, through the outgoing weights of every member."""
    return jnp.einsum("ebh,fhd->efbd", hidden(params, x), params["down"])


def mean_of_members(params, x):
    return hidden(params, x).mean(0) @ params["out"]


def shared_outgoing(params, x):
    return hidden(params, x) @ params["out"]


def neighbours(params, x):
    """What one member puts out, through the outgoing weights of the next."""
    turned = jnp.roll(hidden(params, x), 1, axis=0)
    return jnp.einsum("ebh,ehd->ebd", turned, params["down"])


def shifted(params, x):
    """What a member puts out, through its own outgoing weights and the next one's."""
    h = hidden(params, x)
    later = jnp.pad(h, ((1, 0), (0, 0), (0, 0)))
    weights = jnp.pad(params["down"], ((0, 1), (0, 0), (0, 0)))
    return (
        jnp.einsum("ebh,ehd->ebd", h, params["down"]),
        jnp.einsum("ebh,ehd->ebd", later, weights),
    )


def crossed(params, x):
    """Of as many rows as members, so that the axes may be exchanged."""
    h = hidden(params, x[:E])
    return jnp.einsum("ebh,ehd->ebd", h + h.swapaxes(0, 1), params["down"])


def outer(params, x):
    """Each member's units with those of all members."""
    h = hidden(params, x)
    products = jnp.einsum("ebh,fbg->ehfg", h, h).sum((2, 3))
    return jnp.einsum("eh,ehd->ed", products, params["down"])


def members_last(params, x):
    h = jax.nn.relu(jnp.einsum("bd,edh->bhe", x, params["up"]))
    return jnp.einsum("bhe,ehd->ebd", h, params["down"])


def meeting(params, x):
    """Members side by side, whose units meet in a product of data."""
    h = hidden(params, x)
    return jnp.einsum("ebh,ebh->eb", h, h)[..., None] + jnp.einsum(
        "ebh,ehd->ebd", h, params["down"]
    )


def meeting_others(params, x):
    h = hidden(params, x)
    return jnp.einsum("ebh,fbh->ebf", h, h).sum(-1, keepdims=True) + jnp.einsum(
        "ebh,ehd->ebd", h, params["down"]
    )


def of_each(mixed=False):
    return [(H, mixed, (f"up[{e}] 1",), (f"down[{e}] 0",)) for e in range(E)]


TOGETHER = (H, False, tuple(f"up[{e}] 1" for e in range(E)), ("out 0",))


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (experts, of_each()),
        (members_last, of_each()),
        (meeting, of_each(mixed=True)),
        (mean_of_members, [TOGETHER]),
        (shared_outgoing, [TOGETHER]),
        (against_all, []),
        (neighbours, []),
        (shifted, []),
        (crossed, []),
        (outer, []),
        (meeting_others, []),
    ],
)
def test_units_are_a_member_s_own_unless_members_meet(fn, expected):
    assert_units(fn, STACK, INPUT, expected)


def assert_units(fn, params, x, expected):
    """The plan has these units, and their order changes nothing."""
    plan = swr_optax.plan_rescaling(fn, params, x)
    assert listed(plan) == expected
    for units in plan.units:
        order = np.random.default_rng(0).permutation(units.count)
        moved, _ = permuted(params, None, plan, units, order)
        np.testing.assert_allclose(fn(moved, x), fn(params, x), rtol=1e-4, atol=1e-5)


KERNELS = {
    name: jax.random.normal(key, shape) / 3
    for key, (name, shape) in zip(
        jax.random.split(KEY, 5),
        {
            "up": (E, 3, D, H),
            "down": (E, 3, H, D),
            "pairs": (3, H, 2 * E * D),
            "out": (3, H, D),
            "all": (3, E * H, D),
        }.items(),
        strict=True,
    )
}
SERIES = jax.random.normal(KEY, (B, 6, D))
"""Batch, time, features."""


def over_time(x, kernel, groups=1, batch_group_count=1):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1,),
        "SAME",
        dimension_numbers=("NTC", "TIO", "NTC"),
        feature_group_count=groups,
        batch_group_count=batch_group_count,
    )


def hidden_over_time(params, x):
    return jax.nn.relu(jax.vmap(over_time, (None, 0))(x, params["up"]))


def merged(h):
    """The features of all members behind each other."""
    return jnp.moveaxis(h, 0, 2).reshape(*h.shape[1:3], -1)


def convolutions(params, x):
    return jax.vmap(over_time)(hidden_over_time(params, x), params["down"])


def two_groups_each(params, x):
    """What a member puts out, twice, to two groups of its own outgoing kernel."""
    h = hidden_over_time(params, x)
    kernels = jnp.moveaxis(params["down"], 0, 2).reshape(3, H, E * D)
    twice = jnp.repeat(merged(h).reshape(B, 6, E, 1, H), 2, axis=3)
    wide = jnp.repeat(kernels.reshape(3, H, E, 1, D), 2, axis=3)
    return over_time(
        twice.reshape(B, 6, 2 * E * H), wide.reshape(3, H, 2 * E * D), 2 * E
    )


def one_kernel(params, x):
    h = hidden_over_time(params, x)
    return jax.vmap(over_time, (0, None))(h, params["out"])


def grouped_kernel(params, x):
    """Of a parameter that is no stack."""
    h = merged(hidden_over_time(params, x))
    return over_time(h, params["pairs"], E)


def of_all(params, x):
    """All members' units in one sum."""
    return over_time(merged(hidden_over_time(params, x)), params["all"])


def through_the_next(params, x):
    turned = jnp.roll(hidden_over_time(params, x), 1, axis=0)
    return jax.vmap(over_time)(turned, params["down"])


def turned_round(params, x):
    return jax.vmap(over_time)(hidden_over_time(params, x), params["down"][::-1])


def shuffled(params, x):
    """Each group takes channels of every member, as in ShuffleNet."""
    h = jnp.moveaxis(hidden_over_time(params, x), 0, 3).reshape(B, 6, -1)
    kernels = jnp.moveaxis(params["down"], 0, 2).reshape(3, H, E * D)
    return over_time(h, kernels, E)


def crossed_kernels(params, x):
    """Each group takes outputs of every member's kernel."""
    h = merged(hidden_over_time(params, x))
    return over_time(h, jnp.moveaxis(params["down"], 0, 3).reshape(3, H, E * D), E)


def joined(outgoing):
    return (H, False, tuple(f"up[{e}] 2" for e in range(E)), (outgoing,))


OWN = [(H, False, (f"up[{e}] 2",), (f"down[{e}] 1",)) for e in range(E)]


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (convolutions, OWN),
        (two_groups_each, OWN),
        (one_kernel, [joined("out 1")]),
        (grouped_kernel, [joined("pairs 1")]),
        (of_all, [joined("all 1")]),
        (turned_round, [joined("down 2")]),
        (crossed_kernels, [joined("down 2")]),
        (through_the_next, []),
        (shuffled, []),
    ],
)
def test_units_of_convolutions_stay_in_their_groups(fn, expected):
    assert_units(fn, KERNELS, SERIES, expected)


def with_merged_nonlinearity(params, x):
    """Members whose activations have no axis of their own."""
    h = merged(jax.vmap(over_time, (None, 0))(x, params["up"]))
    kernels = jnp.moveaxis(params["down"], 0, 2).reshape(3, H, E * D)
    return over_time(jax.nn.relu(h), kernels, E)


def from_two_inputs(params, x):
    """In two groups, so that no unit may leave its own."""
    x = jnp.concatenate([x, x + 1], axis=2)
    return over_time(jax.nn.relu(over_time(x, params["in"], 2)), params["out"])


def two_towers(params, x):
    """The outgoing kernel has its own part for each of two kinds of units."""
    h, g = (jax.nn.relu(over_time(x, params[name])) for name in ("left", "right"))
    return over_time(jnp.concatenate([h, g], axis=2), params["in"], 2)


def with_a_part_across_groups(params, x):
    """Two units, scaled by one output of either group."""
    both = over_time(jnp.concatenate([x, x + 1], axis=2), params["in"], 2)
    h = jax.nn.relu(over_time(x, params["two"])) * both[..., 3:5]
    return over_time(h, params["back"])


def batch_in_two_halves(params, x):
    """Each half with its own outgoing features."""
    h = jax.nn.relu(over_time(x, params["left"]))
    return over_time(h, params["in"], batch_group_count=2)


SHAPES = {
    **{"left": (3, D, D), "right": (3, D, D), "two": (3, D, 2)},
    **{"in": (3, D, 8), "out": (3, 8, D), "back": (3, 2, D)},
}
TWO_GROUPS = {
    name: jax.random.normal(jax.random.key(k), shape)
    for k, (name, shape) in enumerate(SHAPES.items())
}


@pytest.mark.parametrize(
    ("fn", "params", "expected"),
    [
        (with_merged_nonlinearity, KERNELS, []),
        (from_two_inputs, TWO_GROUPS, []),
        (two_towers, TWO_GROUPS, []),
        (with_a_part_across_groups, TWO_GROUPS, []),
        (batch_in_two_halves, TWO_GROUPS, [(D, False, ("left 2",), ("in 1",))]),
    ],
)
def test_units_are_found_only_where_groups_allow_it(fn, params, expected):
    assert_units(fn, params, SERIES, expected)


@pytest.mark.parametrize("fn", [experts, members_last, meeting])
def test_activations_are_a_member_s_own(fn):
    plan = swr_optax.plan_rescaling(fn, STACK, INPUT)
    _, found = swr_optax.with_activations(fn, plan)(STACK, INPUT)
    expected = np.maximum(np.asarray(INPUT) @ np.asarray(STACK["up"]), 0)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            sorted_rows(one), sorted_rows(other), rtol=1e-4, atol=1e-5
        )


class Critic(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.BatchNorm(use_running_average=False)(nn.Dense(H)(x))
        return nn.Dense(1)(nn.relu(h))


class CriticOfImages(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.Conv(H, (3, 3), strides=2, use_bias=False)(x)
        h = nn.BatchNorm(use_running_average=False)(h)
        h = nn.Conv(H, (2, 2))(nn.max_pool(nn.relu(h), (2, 2)))
        return nn.Dense(1)(nn.relu(h).reshape(len(h), -1))


class Critics(nn.Module):
    """The two critics of an actor-critic agent."""

    critic: type[nn.Module]

    @nn.compact
    def __call__(self, x):
        critics = nn.vmap(
            self.critic,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            in_axes=None,
            axis_size=2,
        )
        return critics()(x).min(0)


def test_running_statistics_are_those_of_each_member():
    norm = "batch_stats/VmapCritic_0/BatchNorm_0"
    assert_statistics_of_each(Critics(Critic), INPUT, norm, 2)


def test_units_of_critics_of_images_are_those_of_each():
    x = jax.random.normal(KEY, (B, 8, 8, 3))
    plan = plan_of_any_order(Critics(CriticOfImages), x)
    inside = [
        name.removeprefix("VmapCriticOfImages_0/")
        for *_, incoming, outgoing in listed(plan)
        for name in incoming + outgoing
    ]
    first = (
        "BatchNorm_0/bias[{0}] 0",
        "BatchNorm_0/scale[{0}] 0",
        "Conv_0/kernel[{0}] 3",
    )
    last = "Conv_1/bias[{0}] 0", "Conv_1/kernel[{0}] 3", "Dense_0/kernel[{0}] 0"
    assert inside == [
        name.format(member)
        for side in ((*first, "Conv_1/kernel[{0}] 2"), last)
        for member in range(2)
        for name in side
    ]


class Small(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(D, H, rngs=rngs)
        self.last = nnx.Linear(H, 1, rngs=rngs)

    def __call__(self, x):
        return self.last(jnp.tanh(self.first(x)))


def test_an_ensemble_of_nnx_has_units_in_each_member():
    made = nnx.vmap(lambda key: Small(nnx.Rngs(key)))(jax.random.split(KEY, E))
    structure, params = nnx.split(made)

    def apply(params, x):
        run = nnx.vmap(lambda net, x: net(x), in_axes=(0, None))
        return run(nnx.merge(structure, params), x)

    plan = swr_optax.plan_rescaling(apply, params, INPUT)
    assert listed(plan) == [
        (
            H,
            False,
            (f"first/bias[{e}] 0", f"first/kernel[{e}] 1"),
            (f"last/kernel[{e}] 0",),
        )
        for e in range(E)
    ]


@pytest.mark.parametrize("name", RESETS)
def test_resets_are_those_of_each_member(name):
    blocks = ("residual",)
    params, x, plan, single = both(blocks)
    params = jax.tree.map(lambda leaf: leaf, params)  # Others have it too.
    for layer in params["layers"]:
        layer["0"]["bias"] -= 1.0  # Some units are silent.

    def init(key):
        keys = jax.random.split(key, MEMBERS)
        return jax.vmap(lambda key: apart(parameters(blocks, key)))(keys)

    found, moments = with_resets(name, ensemble(blocks), plan, params, init, x)
    for member in range(MEMBERS):
        fresh = lambda key: member_of(init(key), member)  # noqa: B023, E731
        expected, expected_moments = with_resets(
            name, unrolled(blocks), single, member_of(params, member), fresh, x
        )
        chex.assert_trees_all_close(
            member_of((found, moments.mu), member),
            (expected, expected_moments.mu),
            rtol=1e-4,
            atol=1e-5,
        )
    # Something was reset.
    assert any(
        (layer["0"]["bias"] == 0).any() for tree in found for layer in tree["layers"]
    )

"""Hidden units: against lists written by hand, and by what may be done to them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from architectures import ARCHITECTURES
from families import FAMILIES
from networks import network
import random_programs
import swr_optax
from unit_changes import permuted, set_slices

X = jnp.ones((5, 4))
SQUARE = {"w1": jnp.ones((4, 4)), "w2": jnp.ones((4, 4))}


@functools.cache
def planned(name):
    case = ARCHITECTURES[name]()
    plan = swr_optax.plan_rescaling(
        case.train, case.params, *case.inputs, stats=case.stats
    )
    return case, plan


def outputs_of(case, params, stats):
    fn = case.evaluate or case.train
    if case.stats is None:
        return jax.tree.leaves(fn(params, *case.inputs))
    return jax.tree.leaves(fn(params, stats, *case.inputs)[0])


def distance(found, expected):
    """Largest difference, as a share of the largest output."""
    return max(
        float(np.abs(a - b).max() / np.abs(b).max())
        for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize(
    "name",
    [
        *("resnet-18", "u-net", "densenet", "mixer", "vit", "squeeze and excite"),
        *("assorted", "nnx cnn-bn", "haiku resnet", "equinox cnn-bn"),
        *("rnn", "gru", "lstm", "mixture of experts", "scanned blocks"),
    ],
)
def test_units_may_be_reordered_and_cut_off(name):
    case, plan = planned(name)
    assert plan.units
    run = jax.jit(functools.partial(outputs_of, case))
    with jax.enable_x64(False):
        expected = run(case.params, case.stats)
        for k, units in enumerate(plan.units):
            if k not in (0, len(plan.units) - 1):
                continue
            order = np.random.default_rng(k).permutation(units.count)
            found = run(*permuted(case.params, case.stats, plan, units, order))
            assert distance(found, expected) < 1e-3, units
            cut = functools.partial(
                set_slices, plan=plan, count=units.count, unit=units.count - 1
            )
            changed = cut(
                case.params,
                case.stats,
                places=units.incoming,
                value=lambda w: 2 - 3 * w,
            )
            assert distance(run(*changed), expected) > 1e-3, units
            if units.mixed:
                continue
            off = cut(
                case.params, case.stats, places=units.outgoing, value=np.zeros_like
            )
            on_and_off = cut(*off, places=units.incoming, value=lambda w: 2 - 3 * w)
            assert distance(run(*on_and_off), run(*off)) < 1e-5, units


def test_units_that_are_normalised_in_groups_are_left_out():
    assert planned("equinox resnet")[1].units == ()


def names(plan, places):
    """Leaf and axis, with how the slices lie where that is not plain."""
    listed = set()
    for place in places:
        leaf = plan.leaves[place.leaf]
        plain = (place.inner, place.start, place.stop) == (1, 0, leaf.shape[place.axis])
        name = f"{leaf.name} {place.axis}"
        inner = "" if place.inner == 1 else f" by {place.inner}"
        part = "" if plain or place.start == 0 else f" from {place.start}"
        listed.add(name + inner + part)
    return listed


def listed(plan):
    return [
        (units.count, names(plan, units.incoming), names(plan, units.outgoing))
        for units in plan.units
    ]


@pytest.mark.parametrize(
    ("name", "count", "incoming", "outgoing"),
    [
        ("message passing", 6, {"message 1", "own 1", "bias 0"}, {"out 0"}),
        ("graph attention", 6, {"w 1"}, {"a1 0", "a2 0", "out 0"}),
        ("Fourier operator", 5, {"modes 1", "points 1", "bias 0"}, {"out 0"}),
    ],
)
def test_units_pass_graphs_and_frequencies(name, count, incoming, outgoing):
    family = FAMILIES[name]
    params, *inputs = family.arguments()
    plan = swr_optax.plan_rescaling(family.forward, params, *inputs)
    assert listed(plan) == [(count, incoming, outgoing)]
    order = np.random.default_rng(0).permutation(count)
    turned, _ = permuted(params, None, plan, plan.units[0], order)
    np.testing.assert_allclose(
        family.forward(turned, *inputs), family.forward(params, *inputs), rtol=1e-4
    )


def test_a_flax_cnn_with_batch_normalisation():
    plan = network("cnn_bn").plan()
    assert listed(plan) == [
        (
            16,
            {"Conv_0/kernel 3", "BatchNorm_0/scale 0", "BatchNorm_0/bias 0"},
            {"Conv_1/kernel 2"},
        ),
        (
            16,
            {"Conv_1/kernel 3", "BatchNorm_1/scale 0", "BatchNorm_1/bias 0"},
            {"Dense_0/kernel 0"},
        ),
        (100, {"Dense_0/kernel 1", "Dense_0/bias 0"}, {"Dense_1/kernel 0"}),
    ]
    assert [names(plan, units.statistics) for units in plan.units] == [
        {"BatchNorm_0/mean 0", "BatchNorm_0/var 0"},
        {"BatchNorm_1/mean 0", "BatchNorm_1/var 0"},
        set(),
    ]
    assert not any(units.mixed for units in plan.units)


def test_an_equinox_cnn_has_outputs_first():
    assert listed(planned("equinox cnn-bn")[1]) == [
        (
            8,
            {f"layers/{k}/{name} 0" for k in (0, 1) for name in ("weight", "bias")},
            {"layers/4/weight 1 by 256"},
        ),
        (16, {"layers/4/weight 0", "layers/4/bias 0"}, {"layers/6/weight 1"}),
    ]


def test_haiku_and_nnx():
    assert listed(planned("haiku mlp")[1]) == [
        (
            16,
            {f"mlp/~/linear_{k}/{name}" for name in ("w 1", "b 0")},
            {f"mlp/~/linear_{k + 1}/w 0"},
        )
        for k in (0, 1)
    ]
    assert listed(planned("nnx mlp")[1]) == [
        (16, {"layers/1/kernel 1", "layers/1/bias 0"}, {"layers/3/kernel 0"})
    ]


def test_a_trunk_is_written_and_read_by_all_its_blocks():
    plan = planned("resnet-18")[1]
    first = plan.units[0]
    assert names(plan, first.incoming) == {
        *("Conv_0/kernel 3", "BatchNorm_0/scale 0", "BatchNorm_0/bias 0"),
        *(f"ResidualBlock_{k}/Conv_1/kernel 3" for k in (0, 1)),
        *(
            f"ResidualBlock_{k}/BatchNorm_1/{name} 0"
            for k in (0, 1)
            for name in ("scale", "bias")
        ),
    }
    assert names(plan, first.outgoing) == {
        *(f"ResidualBlock_{k}/Conv_0/kernel 2" for k in (0, 1, 2)),
        "ResidualBlock_2/Conv_2/kernel 2",
    }


def test_a_transformers_units_are_those_of_its_mlps():
    assert listed(planned("gpt")[1]) == [
        (
            32,
            {f"TransformerBlock_{k}/Dense_0/{name}" for name in ("kernel 1", "bias 0")},
            {f"TransformerBlock_{k}/Dense_1/kernel 0"},
        )
        for k in (0, 1)
    ]


def test_units_that_a_layer_normalisation_mixes_are_told():
    def fn(params, x):
        x = jax.nn.standardize(x @ params["w1"]) * params["scale"] + params["shift"]
        return jax.nn.relu(x) @ params["w2"]

    params = {
        "w1": jnp.ones((4, 6)),
        "scale": jnp.ones(6),
        "shift": jnp.ones(6),
        "w2": jnp.ones((6, 2)),
    }
    plan = swr_optax.plan_rescaling(fn, params, jnp.ones((3, 4)))
    assert listed(plan) == [(6, {"w1 1", "scale 0", "shift 0"}, {"w2 0"})]
    assert plan.units[0].mixed


@pytest.mark.parametrize(
    ("fn", "mixed"),
    [
        (lambda p, x: (jax.nn.relu(x @ p["w1"]) @ p["w2"], 0.0), False),
        # Read by a constant too.
        (
            lambda p, x: (
                jax.nn.relu(x @ p["w1"]) @ p["w2"],
                jax.nn.relu(x @ p["w1"]) @ jnp.ones((4, 2)),
            ),
            True,
        ),
        # One norm for all units, of the weights that make them or that read them.
        (
            lambda p, x: (
                jax.nn.relu(x @ (p["w1"] / jnp.linalg.norm(p["w1"]))) @ p["w2"]
            ),
            True,
        ),
        (
            lambda p, x: jax.nn.relu(x @ p["w1"]) @ (p["w2"] / jnp.abs(p["w2"]).sum(0)),
            False,
        ),
    ],
)
def test_what_else_mixes_units_is_told(fn, mixed):
    (units,) = swr_optax.plan_rescaling(fn, SQUARE, X).units
    assert units.mixed == mixed


def test_noise_is_no_nonlinearity():
    def fn(params, x, key):
        noise = jax.random.normal(key, (4, 4))
        return x @ (params["w1"] + noise) @ params["w2"]

    assert swr_optax.plan_rescaling(fn, SQUARE, X, jax.random.key(0)).units == ()


HEADS = {"w1": jnp.ones((4, 6)), "w2": jnp.ones((3, 6, 2)), "deviation": jnp.ones(6)}


@pytest.mark.parametrize(
    ("given", "head"),
    [
        (jnp.int32(1), lambda p, task: p["w2"][task]),
        (jnp.array([1, 0, 2, 1, 1]), lambda p, tasks: p["w2"][tasks]),
        (jnp.bool_(True), lambda p, old: jnp.where(old, p["w2"][0], p["w2"][1])),
        (
            jax.random.key(0),
            lambda p, key: (
                p["w2"][0] + p["deviation"][:, None] * jax.random.normal(key, (6, 2))
            ),
        ),
    ],
)
def test_what_is_given_may_choose_the_weights_behind_units(given, head):
    """Heads of tasks, one for each example, and noise by a key."""

    def fn(params, x, given):
        hidden, weight = jax.nn.relu(x @ params["w1"]), head(params, given)
        return jnp.einsum(
            "bi,...io->bo" if weight.ndim == 2 else "bi,bio->bo", hidden, weight
        )

    plan = swr_optax.plan_rescaling(fn, HEADS, X, given)
    (units,) = plan.units
    assert units.count == 6
    assert not units.mixed
    assert [plan.leaves[place.leaf].name for place in units.incoming] == ["w1"]
    assert "w2" in {plan.leaves[place.leaf].path for place in units.outgoing}
    order = np.random.default_rng(0).permutation(6)
    params = jax.tree.map(lambda p: p + jnp.arange(p.size).reshape(p.shape), HEADS)
    turned, _ = permuted(params, None, plan, units, order)
    if not jnp.issubdtype(given.dtype, jax.dtypes.prng_key):  # Its draws do not turn.
        np.testing.assert_allclose(
            fn(turned, X, given), fn(params, X, given), rtol=1e-5
        )


def test_a_generator_has_units_though_all_its_data_are_noise():
    def fn(params, key):
        return jax.nn.relu(jax.random.normal(key, (5, 4)) @ params["w1"]) @ params["w2"]

    (units,) = swr_optax.plan_rescaling(fn, SQUARE, jax.random.key(0)).units
    assert units.count == 4


@pytest.mark.parametrize("frozen", ["w1", "b", "w2"])
def test_what_is_excluded_belongs_to_no_unit(frozen):
    """It must stay as it is, and so no part of a unit may be reset without it."""

    def fn(params, x):
        hidden = jax.nn.relu(x @ params["w1"] + params["b"])
        return jnp.tanh(hidden @ params["w2"]) @ params["w3"]

    params = {**SQUARE, "b": jnp.ones(4), "w3": jnp.ones((4, 2))}
    plan = swr_optax.plan_rescaling(fn, params, X, exclude=lambda path: path == frozen)
    assert listed(plan) == ([] if frozen == "w2" else [(4, {"w2 1"}, {"w3 0"})])


def test_layers_that_a_loop_picks_by_number_have_no_units():
    """One would hold the same entries of all layers."""

    def fn(params, x):
        h = jax.nn.relu(x @ params["w1"])
        pick = lambda i, h: jax.nn.relu(h @ params["stack"][i])  # noqa: E731
        return jax.lax.fori_loop(0, 3, pick, h) @ params["w2"]

    params = {**SQUARE, "stack": jnp.ones((3, 4, 4))}
    plan = swr_optax.plan_rescaling(fn, params, X)
    assert len(plan.layers) == 5
    assert plan.units == ()


@pytest.mark.parametrize("gain", [jnp.exp, jax.nn.softmax, jax.nn.sigmoid])
def test_a_gain_that_only_a_function_is_used_of_is_part_of_units(gain):
    def fn(params, x):
        return jax.nn.relu(x @ params["w1"]) * gain(params["gain"]) @ params["w2"]

    plan = swr_optax.plan_rescaling(fn, {**SQUARE, "gain": jnp.ones(4)}, X)
    (leaf,) = [leaf for leaf in plan.leaves if leaf.name == "gain"]
    assert leaf.role == "unused"
    assert listed(plan) == [(4, {"w1 1", "gain 0"}, {"w2 0"})]
    assert swr_optax.RescalingPlan.from_json(plan.to_json()).units == plan.units


def branches(params, x):
    left, right = jax.nn.relu(x @ params["a"]), jnp.tanh(x @ params["b"])
    return jnp.concatenate([left, right], axis=1) @ params["w"]


def test_branches_side_by_side_share_a_weight_in_parts():
    params = {"a": jnp.ones((4, 3)), "b": jnp.ones((4, 3)), "w": jnp.ones((6, 2))}
    plan = swr_optax.plan_rescaling(branches, params, jnp.ones((5, 4)))
    assert listed(plan) == [(3, {"a 1"}, {"w 0"}), (3, {"b 1"}, {"w 0 from 3"})]


@pytest.mark.parametrize(
    "fn",
    [
        lambda p, x: x @ p["w1"] @ p["w2"],  # No nonlinearity.
        lambda p, x: (x + jax.nn.relu(x @ p["w1"])) @ p["w2"],  # Meets the input.
        lambda p, x: jax.nn.relu(x @ p["w1"]) * jnp.arange(4) @ p["w2"],
        lambda p, x: jax.nn.relu(x @ p["w1"]) @ p["w1"].T,  # Tied.
        lambda p, x: jnp.cumsum(jax.nn.relu(x @ p["w1"]), axis=1) @ p["w2"],
        lambda p, x: jax.nn.relu(x @ p["w1"])[:, ::-1] @ p["w2"],  # In two orders.
        lambda p, x: (jax.nn.relu(x @ p["w1"]) @ p["w2"], jax.nn.relu(x @ p["w1"])),
        lambda p, x: jax.nn.relu(x @ p["w1"])[:, jnp.argmax(x[0])],
    ],
)
def test_these_are_no_units(fn):
    assert swr_optax.plan_rescaling(fn, SQUARE, X).units == ()


@pytest.mark.parametrize("seed", range(40))
def test_units_of_random_programs(seed):
    program = random_programs.draw(17, seed)
    fn = program.function()
    params, *rest = program.arrays()
    stats = rest.pop(0) if program.stats else None
    try:
        plan = swr_optax.plan_rescaling(fn, params, *rest, stats=stats)
    except ValueError:  # It has no weights.
        return
    if not plan.units:
        return

    @jax.jit
    def run(params, stats):
        trees = (params,) if stats is None else (params, stats)
        returned = fn(*trees, *rest)
        return jax.tree.leaves(returned if stats is None else returned[0])

    def check(found, expected):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3, err_msg=str(program))

    if "random" in str(program):
        return  # Noise is alike for all units only on the whole.
    expected = run(params, stats)
    for units in plan.units:
        order = np.random.default_rng(seed).permutation(units.count)
        check(run(*permuted(params, stats, plan, units, order)), expected)
        off = set_slices(
            params, stats, plan, units.outgoing, units.count, 0, np.zeros_like
        )
        on_and_off = set_slices(
            *off, plan, units.incoming, units.count, 0, lambda w: 2 - 3 * w
        )
        finite = all(np.isfinite(out).all() for out in run(*on_and_off))
        if finite and not units.mixed:  # Infinity times zero is not zero.
            check(run(*on_and_off), run(*off))

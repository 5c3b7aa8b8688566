"""Units of which a leaf holds only a part, or several: gates, and heads of their own.

A network that cuts what one product makes is set beside one with a product for each
part.
"""

import functools

import chex
import equinox as eqx
from flax import nnx
import haiku as hk
from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import swr_optax
from unit_changes import permuted, set_slices, with_resets

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (7, 5, 4))
UNITS = 6


def glu(parts, params, x):
    """As SwiGLU has it."""
    gate, values = parts(x)
    return jax.nn.silu(gate) * values @ params["out"]


def reversed_glu(parts, params, x):
    values, gate = parts(x)
    return jax.nn.silu(gate) * values @ params["out"]


def recurrent(parts, params, x):
    """A cell with three gates, whose state makes them, too."""

    def cell(state, now):
        keep, let, new = parts(jnp.concatenate([now, state], -1))
        state = jax.nn.sigmoid(keep) * state + jax.nn.sigmoid(let) * jnp.tanh(new)
        return state, None

    state, _ = jax.lax.scan(cell, jnp.zeros((x.shape[1], UNITS)), x)
    return state @ params["out"]


def heads(parts, params, x):
    """Hidden units of two kinds, each with weights of its own behind them."""
    actor, critic = parts(x)
    return jnp.tanh(actor) @ params["out"], jax.nn.relu(critic) @ params["value"]


NETWORKS = {"glu": glu, "reversed glu": reversed_glu, "cell": recurrent, "heads": heads}
SIZES = {
    "glu": (UNITS, UNITS),
    "reversed glu": (UNITS, UNITS),
    "cell": (UNITS, UNITS, UNITS),
    "heads": (UNITS, 3),
}


def split(x, params, ends):
    return jnp.split(x @ params["in"] + params["bias"], ends, -1)


def sliced(x, params, ends):
    made = x @ params["in"] + params["bias"]
    return [made[..., a:b] for a, b in zip((0, *ends), (*ends, None), strict=True)]


def split_before(x, params, ends):
    weights, biases = jnp.split(params["in"], ends, 1), jnp.split(params["bias"], ends)
    return [x @ w + b for w, b in zip(weights, biases, strict=True)]


CUTS = {"split": split, "sliced": sliced, "split before": split_before}


def ends_of(sizes):
    return [int(end) for end in np.cumsum(sizes)[:-1]]


def in_one(name, cut):
    """The network of one product; it is cut there."""
    ends = ends_of(SIZES[name])
    return lambda params, x: NETWORKS[name](
        lambda inputs: CUTS[cut](inputs, params, ends), params, x
    )


def apart(name):
    """The network of a product for each part."""

    def fn(params, x):
        def parts(inputs):
            pairs = zip(params["in"], params["bias"], strict=True)
            return [inputs @ w + b for w, b in pairs]

        return NETWORKS[name](parts, params, x)

    return fn


def fresh(name, key):
    """Parameters of the network of one product."""
    keys = jax.random.split(key, 4)
    inputs = 4 + UNITS * (name == "cell")
    params = {
        "in": jax.random.normal(keys[0], (inputs, sum(SIZES[name]))) / 2,
        "bias": jax.random.normal(keys[1], (sum(SIZES[name]),)) / 2,
        "out": jax.random.normal(keys[2], (UNITS, 3)) / 2,
    }
    if name == "heads":
        params["value"] = jax.random.normal(keys[3], (3, 1))
    return params


def taken_apart(name, params):
    ends = ends_of(SIZES[name])
    cut = {key: jnp.split(params[key], ends, -1) for key in ("in", "bias")}
    return {**params, **cut}


def places(plan, name, side):
    """Of each part and leaf, where its units are; the parts of one product as such."""
    starts = dict(enumerate(np.cumsum([0, *SIZES[name]])))
    found = []
    for units in plan.units:
        of_units = set()
        for place in getattr(units, side):
            leaf, _, part = plan.leaves[place.leaf].name.partition("/")
            cut_here = leaf == "bias" or (leaf == "in" and place.axis == 1)
            by = starts[int(part)] if part and cut_here else 0
            of_units.add((leaf, place.axis, place.start + by, place.stop + by))
        found.append(of_units)
    return found


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", NETWORKS)
def test_parts_of_a_product_have_the_units_of_products_of_their_own(name, cut):
    params = fresh(name, KEY)
    fn, beside = in_one(name, cut), apart(name)
    plan = swr_optax.plan_rescaling(fn, params, X)
    expected = swr_optax.plan_rescaling(beside, taken_apart(name, params), X)
    assert [u.count for u in plan.units] == [u.count for u in expected.units]
    assert [u.mixed for u in plan.units] == [u.mixed for u in expected.units]
    assert len(plan.units) == 1 + (name == "heads")
    for side in ("incoming", "outgoing"):
        assert places(plan, name, side) == places(expected, name, side)
    assert swr_optax.RescalingPlan.from_json(plan.to_json()).units == plan.units
    outputs, activations = swr_optax.with_activations(fn, plan)(params, X)
    others = swr_optax.with_activations(beside, expected)(taken_apart(name, params), X)
    chex.assert_trees_all_close((outputs, activations), others, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["redo", "continual_backprop"])
@pytest.mark.parametrize("network", ["glu", "cell"])
def test_what_resets_units_resets_all_their_parts(name, network):
    params, fn, beside = fresh(network, KEY), in_one(network, "split"), apart(network)
    plan = swr_optax.plan_rescaling(fn, params, X)
    init = functools.partial(fresh, network)
    found, moments = with_resets(name, fn, plan, params, init, X)
    params = taken_apart(network, params)
    plan = swr_optax.plan_rescaling(beside, params, X)
    expected, expected_moments = with_resets(
        name, beside, plan, params, lambda key: taken_apart(network, init(key)), X
    )
    chex.assert_trees_all_close(
        [taken_apart(network, tree) for tree in (*found, moments.mu)],
        [*expected, expected_moments.mu],
        rtol=1e-4,
        atol=1e-5,
    )
    assert any((tree["bias"] == 0).any() for tree in found)  # Something was reset.


def stacked(axis):
    """SwiGLU whose kernel has an axis for the two parts, and where its units are."""

    def fn(params, x):
        made = jnp.tensordot(x, params["in"], 1) + params["bias"]
        gate, values = jnp.moveaxis(made, x.ndim - 2 + axis, 0)
        return jax.nn.silu(gate) * values @ params["out"]

    def init(key):
        params = fresh("glu", key)
        kernel, bias = (
            jnp.stack(jnp.split(params[name], 2, -1), by)
            for name, by in (("in", axis), ("bias", axis - 1))
        )
        return {**params, "in": kernel, "bias": bias}

    return fn, init


@pytest.mark.parametrize("name", ["redo", "continual_backprop"])
@pytest.mark.parametrize("axis", [1, 2])
def test_gates_may_have_an_axis_of_their_own(axis, name):
    fn, init = stacked(axis)
    plan = swr_optax.plan_rescaling(fn, init(KEY), X)
    (units,) = plan.units
    found = {(plan.leaves[p.leaf].name, p.axis) for p in units.incoming}
    assert found == {("bias", 2 - axis), ("in", 3 - axis)}
    found = with_resets(name, fn, plan, init(KEY), init, X)
    beside = in_one("glu", "split")
    params = fresh("glu", KEY)
    plan = swr_optax.plan_rescaling(beside, params, X)
    init = functools.partial(fresh, "glu")
    expected = with_resets(name, beside, plan, params, init, X)
    pairs = zip((*found[0], found[1].mu), (*expected[0], expected[1].mu), strict=True)
    for tree, other in pairs:
        kernel, bias = (
            jnp.concatenate([*jnp.moveaxis(tree[leaf], by, 0)], -1)
            for leaf, by in (("in", axis), ("bias", axis - 1))
        )
        chex.assert_trees_all_close(
            {**tree, "in": kernel, "bias": bias}, other, rtol=1e-4, atol=1e-5
        )


def test_heads_of_attention_and_what_they_hold_are_no_units():
    def fn(params, x):
        query, key, value = jnp.moveaxis(jnp.tensordot(x, params["qkv"], 1), -3, 0)
        made = jax.nn.dot_product_attention(query, key, value)
        made = jnp.tensordot(made, params["join"], 2)
        gate, hidden = jnp.moveaxis(jnp.tensordot(made, params["gates"], 1), -2, 0)
        return jax.nn.gelu(gate) * hidden @ params["out"]

    shapes = {"qkv": (4, 3, 2, 8), "join": (2, 8, 4), "gates": (4, 2, 9), "out": (9, 3)}
    params = {
        name: jax.random.normal(jax.random.key(k), shape)
        for k, (name, shape) in enumerate(shapes.items())
    }
    plan = swr_optax.plan_rescaling(fn, params, X)
    (units,) = plan.units
    assert units.count == 9
    assert [plan.leaves[place.leaf].name for place in units.incoming] == ["gates"]
    order = np.random.default_rng(0).permutation(9)
    turned, _ = permuted(params, None, plan, units, order)
    np.testing.assert_allclose(fn(turned, X), fn(params, X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "hidden",
    [
        lambda made: jnp.tanh(made[:, :2]) * made[:, 2:],  # Pairs stay together.
        lambda made: jnp.cumsum(jnp.tanh(made), 1)[:, :2],
    ],
)
def test_entries_of_an_axis_that_are_not_taken_apart_are_no_gates(hidden):
    def fn(params, x):
        made = jnp.tensordot(x[0], params["in"], 1)
        return jnp.tensordot(hidden(made), params["out"], 2)

    params = {"in": jnp.ones((4, 4, UNITS)), "out": jnp.ones((2, UNITS, 3))}
    assert swr_optax.plan_rescaling(fn, params, X).units == ()


def equinox_cell(cell):
    def fn(model, x):
        cell, readout = model
        zeros = jnp.zeros(5)
        start = zeros if isinstance(cell, eqx.nn.GRUCell) else (zeros, zeros)
        state, _ = jax.lax.scan(lambda c, now: (cell(now, c), None), start, x[:, 0])
        return readout(jax.tree.leaves(state)[0])

    return fn, (cell(4, 5, key=KEY), eqx.nn.Linear(5, 3, key=KEY))


def nnx_cell(cell):
    class Network(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.cell = nnx.RNN(cell(4, 5, rngs=rngs))
            self.readout = nnx.Linear(5, 3, rngs=rngs)

        def __call__(self, x):
            return self.readout(self.cell(x)[:, -1])

    graph, params, rest = nnx.split(Network(), nnx.Param, ...)
    return lambda p, x: nnx.merge(graph, p, rest, copy=True)(x), params


def haiku_cell(cell):
    def forward(x):
        core = cell(5)
        states, _ = hk.dynamic_unroll(core, x, core.initial_state(x.shape[1]))
        return hk.Linear(3)(states[-1])

    network = hk.without_apply_rng(hk.transform(forward))
    return network.apply, network.init(KEY, X)


CELLS = {
    "equinox LSTM": lambda: equinox_cell(eqx.nn.LSTMCell),
    "equinox GRU": lambda: equinox_cell(eqx.nn.GRUCell),
    "nnx optimised LSTM": lambda: nnx_cell(nnx.OptimizedLSTMCell),
    "nnx GRU": lambda: nnx_cell(nnx.GRUCell),
    "haiku LSTM": lambda: haiku_cell(hk.LSTM),
    "haiku GRU": lambda: haiku_cell(hk.GRU),
}


@pytest.mark.parametrize("name", CELLS)
def test_cells_of_libraries_have_units(name):
    fn, params = CELLS[name]()
    # Biases that begin at zero would hide that they have been left out.
    params = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(KEY, p.shape), params)
    plan = swr_optax.plan_rescaling(fn, params, X)
    (units,) = plan.units
    assert units.count == 5
    order = np.array([3, 0, 4, 1, 2])
    turned, _ = permuted(params, None, plan, units, order)
    expected = fn(params, X)
    np.testing.assert_allclose(fn(turned, X), expected, rtol=1e-4, atol=1e-6)
    off = set_slices(params, None, plan, units.outgoing, 5, 2, np.zeros_like)
    again = set_slices(*off, plan, units.incoming, 5, 2, lambda w: 2 - 3 * w)
    assert not np.allclose(fn(off[0], X), expected, rtol=1e-3)
    np.testing.assert_allclose(fn(again[0], X), fn(off[0], X), rtol=1e-4, atol=1e-6)
    held = {
        leaf.path
        for side in (units.incoming, units.outgoing)
        for leaf in (plan.leaves[place.leaf] for place in side)
    }
    readout = {leaf.path for leaf in plan.leaves if leaf.shape == (3,)}
    assert held == {leaf.path for leaf in plan.leaves} - readout


@settings(deadline=None, max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    cut=st.sampled_from(sorted(CUTS)),
    seed=st.integers(0, 99),
)
def test_parts_of_one_size_may_gate_each_other(sizes, cut, seed):
    """Each size is a layer of units, whose parts are multiplied by each other."""
    ends = ends_of(sizes)

    def fn(params, x):
        made = {}
        for part in CUTS[cut](x, params, ends):
            size = part.shape[-1]
            made[size] = made.get(size, 1.0) * jnp.tanh(part)
        return sum(part @ params[f"out {size}"] for size, part in made.items())

    keys = iter(jax.random.split(jax.random.key(seed), 9))
    params = {
        "in": jax.random.normal(next(keys), (4, sum(sizes))),
        "bias": jax.random.normal(next(keys), (sum(sizes),)),
        **{f"out {n}": jax.random.normal(next(keys), (n, 3)) for n in sorted({*sizes})},
    }
    plan = swr_optax.plan_rescaling(fn, params, X)
    layers = dict.fromkeys(size for size in sizes if size > 1)
    assert [u.count for u in plan.units] == [*layers]  # One alone has no order.
    for units in plan.units:
        parts = sizes.count(units.count)
        assert len(units.incoming) == 2 * parts
        order = np.random.default_rng(seed).permutation(units.count)
        turned, _ = permuted(params, None, plan, units, order)
        np.testing.assert_allclose(fn(turned, X), fn(params, X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("taken", "layers"),
    [
        (slice(2, 6), [(0, 2), (2, 6), (6, 8)]),
        (slice(0, 5), [(0, 5), (5, 8)]),
        (slice(1, 6), [(1, 6), (6, 8)]),
    ],
)
def test_a_part_that_is_taken_leaves_what_is_in_front_of_it_and_behind(taken, layers):
    def fn(params, x):
        hidden = jnp.tanh(x @ params["in"])
        made = hidden @ params["out"] + hidden[..., taken] @ params["part"]
        return jnp.tanh(made) @ params["last"]

    params = {
        "in": jnp.ones((4, 8)),
        "out": jnp.ones((8, 3)),
        "part": jnp.ones((taken.stop - taken.start, 3)),
        "last": jnp.ones((3, 1)),
    }
    *plans, behind = swr_optax.plan_rescaling(fn, params, X).units
    assert [(u.incoming[0].start, u.incoming[0].stop) for u in plans] == layers
    assert [len(u.outgoing) for u in plans] == [
        1 + (start == taken.start) for start, _ in layers
    ]
    assert behind.count == 3


def test_units_that_are_repeated_may_be_cut_between_two():
    def fn(params, x):
        return jnp.repeat(jnp.tanh(x @ params["in"]), 2, -1)[..., :5] @ params["out"]

    params = {"in": jax.random.normal(KEY, (4, 8)), "out": jnp.eye(5, 3) + 1.0}
    (units,) = swr_optax.plan_rescaling(fn, params, X).units
    # Of the third only one half is taken.
    assert (units.count, units.outgoing[0].inner) == (2, 2)
    assert (units.incoming[0].start, units.incoming[0].stop) == (0, 2)


@pytest.mark.parametrize(
    "fn",
    [
        # The units of one half meet their neighbours of the other.
        lambda p, x: jax.nn.relu(x @ p["in"])[..., 1:] @ p["in"].T[1:],
        lambda p, x: jnp.cumsum(jnp.tanh(x @ p["in"])[..., :3], -1) @ p["out"],
        # A gate that is turned round.
        lambda p, x: (
            jax.nn.glu(x @ p["in"] + (x @ p["in"])[..., ::-1])[..., :3] @ p["out"]
        ),
        # Parts that overlap.
        lambda p, x: (
            jnp.tanh(x @ p["in"][:, :5])
            * jnp.tanh(x @ p["in"][:, 3:])
            @ jnp.tile(p["out"], (2, 1))[:5]
        ),
        lambda p, x: (
            jnp.tanh(x @ p["in"])[..., :3] * jnp.tanh(x @ p["in"])[..., 1:4] @ p["out"]
        ),
        # What is cut off is an output.
        lambda p, x: (
            jnp.tanh(x @ p["in"])[..., :3] @ p["out"],
            jnp.tanh(x @ p["in"])[..., :3],
        ),
    ],
)
def test_these_parts_are_no_units(fn):
    params = {"in": jnp.ones((4, 8)), "out": jnp.ones((3, 2))}
    assert swr_optax.plan_rescaling(fn, params, X).units == ()

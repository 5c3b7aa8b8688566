"""Plans as JSON: there and back, and no other text.

``SWR_EXAMPLES=20000 pytest -n 1 tests/swr_optax/planning/plan/test_plan_json.py`` tries
so many mutated plans.
"""

import copy
import dataclasses
import functools
import json
import os

import chex
from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from networks import network
import swr_optax
from swr_optax import RescalingPlan, Units, UnitSlices

STACKED = {
    "blocks": {"w": jnp.ones((2, 4, 4)), "b": jnp.ones((2, 4))},
    "head": jnp.ones((4, 3)),
}
STATS = {"mean": jnp.ones(4)}


def stacked(p, _, x):
    """Two layers under a scan, and a last one."""

    def block(x, p):
        return jax.nn.relu(x @ p["w"] + p["b"]), None

    x = jax.lax.scan(block, x, p["blocks"])[0]
    return {"logits": x @ p["head"], "hidden": x}, {"mean": x.mean(0)}


@functools.cache
def stacked_plan():
    """Small, and with everything that a plan can have."""
    plan = swr_optax.plan_rescaling(stacked, STACKED, jnp.ones((2, 4)), stats=STATS)
    return dataclasses.replace(
        plan,
        unmet=("head cannot",),
        approximations=("nearly",),
        left_alone=("blocks/b[0]: asleep",),
        units=(
            Units(
                count=2,
                incoming=(UnitSlices(4, axis=0, inner=2, start=0, stop=4),),
                outgoing=(UnitSlices(2, axis=1, inner=1, start=1, stop=3),),
                statistics=(UnitSlices(5, axis=0, inner=1, start=0, stop=4),),
                mixed=True,
            ),
        ),
    )


RESIDUAL = {name: {"w": jnp.ones((4, 4)), "b": jnp.ones(4)} for name in ("a", "b", "c")}


def residual(p, stats, x):
    """Layers whose scales are tied, with hidden units and a running mean of them."""
    x = x @ p["a"]["w"] + p["a"]["b"]
    hidden = jax.nn.relu(x @ p["b"]["w"] + p["b"]["b"])
    x = x + hidden @ p["c"]["w"] + p["c"]["b"]
    return x, {"mean": 0.9 * stats["mean"] + 0.1 * hidden.mean(0)}


@functools.cache
def residual_plan():
    """One of priority "function", with the units that the plan found."""
    return swr_optax.plan_rescaling(
        residual,
        RESIDUAL,
        jnp.ones((2, 4)),
        stats=STATS,
        priority="function",
        exclude=lambda path: path == "c/b",
    )


PLANS = {
    "mlp": lambda: network("mlp").plan(),
    "cnn_bn": lambda: network("cnn_bn").plan(),
    "stacked": stacked_plan,
    "residual": residual_plan,
    "by hand": lambda: swr_optax.sequential_plan(
        {"a": jnp.ones((2, 2)), "b": jnp.ones(2)}, ["a"]
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_goes_to_json_and_back(name):
    plan = PLANS[name]()
    again = RescalingPlan.from_json(plan.to_json())
    assert again.to_json() == plan.to_json()
    for field in dataclasses.fields(RescalingPlan):
        found, given_ = getattr(again, field.name), getattr(plan, field.name)
        assert type(found) is type(given_)
        np.testing.assert_array_equal(found, given_)
    assert again.exponents.dtype == np.float64
    assert str(again) == str(plan)


def test_a_plan_that_was_read_fits_its_network():
    net = network("cnn_bn")
    again = RescalingPlan.from_json(net.plan().to_json())
    assert again.match_params(net.params) == list(range(10))
    assert again.match_statistics(net.stats) == list(range(10, 14))


def test_text_of_the_first_format_is_read():
    """It did not say its format, nor at first what is left alone."""
    plan = stacked_plan()
    fields = json.loads(plan.to_json())
    assert fields.pop("format") == 2
    assert RescalingPlan.from_json(json.dumps(fields)).to_json() == plan.to_json()
    del fields["left_alone"]
    assert RescalingPlan.from_json(json.dumps(fields)).left_alone == ()


def test_a_future_format_is_named_whatever_else_it_has():
    for number in (3, 10**30):
        fields = {"format": number, "colours": []}
        with pytest.raises(ValueError, match=r"has format \d+, and .* up to 2: inst"):
            RescalingPlan.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting value"),
        ("[]", "the plan must be an object, not a list"),
        ("null", "the plan must be an object, not None"),
        ("{}", "the plan lacks"),
        ("[" * 100_000, "it is nested too deeply"),
        ("1" * 5000, "digits"),
        ('{"a":' * 100_000, "it is nested too deeply"),
        ('{"format": 2, "format": 2}', "an object has 'format' twice"),
        ('{"format": "2"}', "format must be a whole number from 1 up, not '2'"),
        ('{"format": 0}', "format must be a whole number from 1 up, not 0"),
        ('{"format": NaN}', "format must be a whole number from 1 up, not nan"),
        (b"\xff\xfe\xfa", "codec can't decode byte"),
        (None, "it is a NoneType, not text"),
        ({}, "it is a dict, not text"),
    ],
)
def test_other_text_is_refused(text, problem):
    with pytest.raises(ValueError, match="not a plan that to_json wrote: ") as error:
        RescalingPlan.from_json(text)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


NAN = float("nan")
BROKEN = {
    "exponents[0][0] must be finite, not nan": ("exponents", 0, 0, NAN),
    "exponents[0][0] must be finite, not inf": ("exponents", 0, 0, float("inf")),
    "exponents[0][0] must be finite, not 1": ("exponents", 0, 0, 10**400),
    "exponents[0][0] must be a number, not True": ("exponents", 0, 0, True),
    "exponents[0][0] must be a number, not '1'": ("exponents", 0, 0, "1"),
    "exponents must have 6 rows of 3 numbers": ("exponents", 0, [1.0]),
    "exponents[0] must be a list, not 3": ("exponents", 0, 3),
    "output_exponents must have 2 rows of 3": ("output_exponents", []),
    "weights[0] must be at most 4, not 5": ("weights", 0, 5),
    "weights[0] must be a whole number from 0 up, not -1": ("weights", 0, -1),
    "weights[0] must be a whole number from 0 up, not 2.0": ("weights", 0, 2.0),
    "weights names a leaf twice": ("weights", 0, 3),
    "weights names leaf 0, whose role is 'shift'": ("weights", 0, 0),
    "weights is empty, so there is no layer": ("weights", []),
    "parameters must be at most 6, not 7": ("parameters", 7),
    "parameters must be a whole number from 0 up, not -1": ("parameters", -1),
    "leaves[0].role must be one of": ("leaves", 0, "role", "king"),
    "leaves[0].path must be a string, not 0": ("leaves", 0, "path", 0),
    "leaves[0].shape[0] must be a whole": ("leaves", 0, "shape", [-4]),
    "leaves[0].shape must be a list, not 4": ("leaves", 0, "shape", 4),
    "leaves[0] must be an object, not None": ("leaves", 0, None),
    "leaves[0] lacks none and has unknown 'size'": ("leaves", 0, "size", 4),
    "leaves[0].layer must be a whole number from -1": ("leaves", 0, "layer", -2),
    "leaf 'head' has layer 1, which must be 2": ("leaves", 4, "layer", 1),
    "leaf 'blocks/b[0]' has layer 3, which must be less": ("leaves", 0, "layer", 3),
    "leaves[4].input_axes[0] must be a whole": ("leaves", 4, "input_axes", [-1]),
    "leaf 'head' of 2 dimensions has axes '(1, 1)'": ("leaves", 4, "input_axes", [1]),
    "leaf 'head' of 2 dimensions has axes '(2, 1)'": ("leaves", 4, "input_axes", [2]),
    "leaf 'blocks/b[0]' is there twice": ("leaves", 1, "index", 0),
    "leaf 'blocks/b[2]' is there twice, or its slices": ("leaves", 1, "index", 2),
    "leaf 'blocks/b' is there twice": ("leaves", 4, {"path": "blocks/b"}),
    "exponents[0][0] must be at most 1e+06 in size, not": ("exponents", 0, 0, -1e300),
    "exponents must be one for a weight's own layer": ("exponents", 4, 2, 2.0),
    "has the role 'unused', but its exponents are not": (
        "leaves",
        0,
        {"role": "unused", "output_axes": []},
    ),
    "has the role 'weight', but weights does not name": ("weights", [2, 3]),
    "'mean' has the role 'shift', but is none of the 5": ("leaves", 5, "role", "shift"),
    "weights[2] must be at most 3, not 4": ("parameters", 4),
    "of the role 'shift' has axes '(0,)', which": (
        "leaves",
        0,
        {"input_axes": [0], "output_axes": []},
    ),
    "leaves[0].path must be whole Unicode": ("leaves", 0, "path", "\ud800"),
    "units[0].incoming is empty": ("units", 0, "incoming", []),
    "units[0].statistics names a leaf of the role": (
        "units",
        0,
        "statistics",
        0,
        "leaf",
        0,
    ),
    "priority must be one of ('norms', 'function'), not 'speed'": ("priority", "speed"),
    "unmet[0] must be a string, not 1": ("unmet", [1]),
    "units[0].count must be a whole number from 2 up": ("units", 0, "count", 1),
    "units[0].incoming holds slices that its leaf": ("units", 0, "count", 3),
    "units[0].mixed must be true or false": ("units", 0, "mixed", 1),
    "units[0].outgoing holds": ("units", 0, "outgoing", 0, "stop", 5),
    "units[0].outgoing[0].axis must be a": ("units", 0, "outgoing", 0, "axis", -1),
    "units[0].statistics holds": ("units", 0, "statistics", 0, "leaf", 6),
    "units[0] lacks none and has unknown 'size'": ("units", 0, "size", 1),
    "outputs has a name twice": ("outputs", ["a", "a"]),
    "the plan lacks none and has unknown 'colour'": ("colour", "red"),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_what_is_wrong_with_a_plan_is_said_in_one_line(problem):
    fields = json.loads(stacked_plan().to_json())
    *steps, last, value = BROKEN[problem]
    node = fields
    for step in steps:
        node = node[step]
    merged = isinstance(value, dict) and isinstance(node[last], dict)
    node[last] = {**node[last], **value} if merged else value
    with pytest.raises(ValueError, match="not a plan that to_json wrote: ") as error:
        RescalingPlan.from_json(json.dumps(fields))
    assert problem in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_slices_of_units_do_not_overlap():
    fields = json.loads(stacked_plan().to_json())
    places = fields["units"][0]["incoming"]
    places.append(places[0])
    with pytest.raises(
        ValueError, match=r"units\[0\].incoming has entries of a leaf t"
    ):
        RescalingPlan.from_json(json.dumps(fields))


def test_under_function_the_weights_rows_are_a_projection():
    fields = json.loads(residual_plan().to_json())
    for entry in (0.5, -1.0):
        fields["exponents"][residual_plan().weights[0]][1] = entry
        with pytest.raises(ValueError, match="exponents of the weights must be a proj"):
            RescalingPlan.from_json(json.dumps(fields))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 8)
    | st.sampled_from([10**30, -(10**400)])
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["weight", "shift", "frozen", "norms", "function", "head"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
    ),
    max_leaves=4,
)


def mutate(data, node):
    """One random change somewhere below a node."""
    stop = data.draw(st.integers(0, 4)) == 0
    if stop or not isinstance(node, (dict, list)) or not node:
        return data.draw(VALUES)
    node = copy.copy(node)
    keys = list(node) if isinstance(node, dict) else range(len(node))
    key = data.draw(st.sampled_from(keys))
    match data.draw(st.sampled_from(["inside"] * 6 + ["delete", "repeat", "swap"])):
        case "delete":
            del node[key]
        case "repeat" if isinstance(node, list):
            node.insert(key, node[key])
        case "swap":
            other = data.draw(st.sampled_from(keys))
            node[key], node[other] = node[other], node[key]
        case _:
            node[key] = mutate(data, node[key])
    return node


MUTATED = {
    "stacked": (stacked_plan, STACKED),
    "residual": (residual_plan, RESIDUAL),
}
EXAMPLES = int(os.environ.get("SWR_EXAMPLES", "250"))


@given(name=st.sampled_from(list(MUTATED)), data=st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_mutated_plan_is_refused_or_does_no_harm(name, data):
    make, params = MUTATED[name]
    fields = json.loads(make().to_json())
    for _ in range(data.draw(st.integers(1, 3))):
        fields = mutate(data, fields)
    plan, message = None, ""
    try:
        plan = RescalingPlan.from_json(json.dumps(fields))
    except ValueError as error:
        message = str(error)
    if plan is None:
        assert message.startswith("text is not a plan that to_json wrote: ")
        assert "\n" not in message
        assert len(message) < 500
        return
    assert json.loads(plan.to_json()) == {"format": 2, "left_alone": [], **fields}
    assert str(plan).encode()
    try:
        tx = optax.chain(optax.sgd(0.01), swr_optax.soft_weight_rescaling(1e-3, plan))
        state = tx.init(params)
        plan.match_statistics(STATS)
    except ValueError as error:
        message = str(error)
    if message:  # It is the plan of another network.
        assert "do not fit the plan" in message
        return
    updates, state = tx.update(params, state, params)
    stats = swr_optax.rescale_statistics(STATS, state, plan)
    found = optax.apply_updates(params, updates), stats, state
    chex.assert_tree_all_finite(found)
    if plan.units:
        recycling = swr_optax.redo(optax.sgd(0.01), plan, lambda _: params, period=1)
        silent = tuple(jnp.zeros((2, units.count)) for units in plan.units)
        state = recycling.init(params)
        updates, _ = recycling.update(params, state, params, activations=silent)
        chex.assert_tree_all_finite(updates)

"""Plans as JSON: there and back, and no other text."""

import copy
import dataclasses
import functools
import json

from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from networks import network
import swr_optax
from swr_optax import RescalingPlan, Units, UnitSlices


@functools.cache
def stacked_plan():
    """Small, and with everything that a plan can have."""
    params = {
        "blocks": {"w": jnp.ones((2, 4, 4)), "b": jnp.ones((2, 4))},
        "head": jnp.ones((4, 3)),
    }

    def apply(p, _, x):
        def block(x, p):
            return jax.nn.relu(x @ p["w"] + p["b"]), None

        x = jax.lax.scan(block, x, p["blocks"])[0]
        return {"logits": x @ p["head"], "hidden": x}, {"mean": x.mean(0)}

    plan = swr_optax.plan_rescaling(
        apply, params, jnp.ones((2, 4)), stats={"mean": jnp.ones(4)}
    )
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


PLANS = {
    "mlp": lambda: network("mlp").plan(),
    "cnn_bn": lambda: network("cnn_bn").plan(),
    "stacked": stacked_plan,
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


def test_older_text_says_nothing_about_what_is_left_alone():
    fields = json.loads(stacked_plan().to_json())
    del fields["left_alone"]
    assert RescalingPlan.from_json(json.dumps(fields)).left_alone == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting value"),
        ("[]", "the plan must be an object, not a list"),
        ("null", "the plan must be an object, not None"),
        ("{}", "the plan lacks"),
        ("[" * 100_000, "it is nested too deeply"),
        ("1" * 5000, ""),
        (None, "JSON"),
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
    "leaves[0] lacks [] and has unknown ['size']": ("leaves", 0, "size", 4),
    "leaves[0].layer must be a whole number from -1": ("leaves", 0, "layer", -2),
    "leaf 'head' has layer 1, which must be 2": ("leaves", 4, "layer", 1),
    "leaf 'blocks/b[0]' has layer 3, which must be less": ("leaves", 0, "layer", 3),
    "leaves[4].input_axes[0] must be a whole": ("leaves", 4, "input_axes", [-1]),
    "leaf 'head' of 2 dimensions has axes '(1, 1)'": ("leaves", 4, "input_axes", [1]),
    "leaf 'head' of 2 dimensions has axes '(2, 1)'": ("leaves", 4, "input_axes", [2]),
    "leaf blocks/b[0] is there twice": ("leaves", 1, "index", 0),
    "leaf blocks/b[2] is there twice, or its slices": ("leaves", 1, "index", 2),
    "leaf blocks/b is there twice": ("leaves", 4, {"path": "blocks/b"}),
    "priority must be one of ('norms', 'function'), not 'speed'": ("priority", "speed"),
    "unmet[0] must be a string, not 1": ("unmet", [1]),
    "units[0].count must be a whole number from 2 up": ("units", 0, "count", 1),
    "units[0].incoming holds slices that its leaf": ("units", 0, "count", 3),
    "units[0].mixed must be true or false": ("units", 0, "mixed", 1),
    "units[0].outgoing holds": ("units", 0, "outgoing", 0, "stop", 5),
    "units[0].outgoing[0].axis must be a": ("units", 0, "outgoing", 0, "axis", -1),
    "units[0].statistics holds": ("units", 0, "statistics", 0, "leaf", 6),
    "units[0] lacks [] and has unknown ['size']": ("units", 0, "size", 1),
    "outputs has a name twice": ("outputs", ["a", "a"]),
    "the plan lacks [] and has unknown ['colour']": ("colour", "red"),
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


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_mutated_plan_is_read_as_it_is_or_refused(data):
    fields = json.loads(stacked_plan().to_json())
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
        return
    assert json.loads(plan.to_json()) == {"left_alone": [], **fields}
    assert np.isfinite(plan.exponents).all()
    assert plan.exponents.shape == (len(plan.leaves), len(plan.layers))
    assert plan.output_exponents.shape == (len(plan.outputs), len(plan.layers))
    assert str(plan)

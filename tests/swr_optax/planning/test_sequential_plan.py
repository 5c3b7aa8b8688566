"""Hand-written plans equal traced ones."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from networks import network
import swr_optax


@pytest.mark.parametrize("name", ["mlp", "cnn", "cnn_bn"])
def test_equals_the_traced_plan(name):
    net = network(name)
    traced = net.plan()
    written = swr_optax.sequential_plan(
        net.params,
        [dataclasses.astuple(layer) for layer in net.layers],
        stats=net.stats,
    )
    assert written.leaves == traced.leaves
    assert written.weights == traced.weights
    np.testing.assert_array_equal(written.exponents, traced.exponents)
    np.testing.assert_array_equal(written.output_exponents, traced.output_exponents)


def test_trains():
    net = network("mlp")
    plan = swr_optax.sequential_plan(
        net.params, [(layer.weight, layer.bias) for layer in net.layers]
    )
    tx = swr_optax.soft_weight_rescaling({"feature": 0.5, "classifier": 1.0}, plan)
    rescaled, _ = tx.update(net.params, tx.init(net.params), net.params)
    np.testing.assert_allclose(  # Doubled, then half or all of the way back.
        rescaled["Dense_2"]["kernel"], 0 * net.params["Dense_2"]["kernel"], atol=1e-7
    )
    np.testing.assert_allclose(
        rescaled["Dense_1"]["kernel"], 0.5 * net.params["Dense_1"]["kernel"], rtol=1e-5
    )


def test_a_path_alone_is_a_weight():
    plan = swr_optax.sequential_plan(PARAMS, ["a"])
    np.testing.assert_array_equal(plan.exponents, [[1], [0]])


PARAMS = {"a": jnp.ones((2, 2)), "b": jnp.ones(2)}


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "layers is empty"),
        ([("c",)], r"layers\[0\] names 'c', which is not a leaf: there are a, b"),
        ([("a", "b"), ("b",)], r"layers\[1\] names 'b', named before"),
    ],
)
def test_mistakes_are_named(layers, message):
    with pytest.raises(ValueError, match=message):
        swr_optax.sequential_plan(PARAMS, layers)


def test_integer_parameters_are_refused():
    with pytest.raises(TypeError, match="parameter a has dtype int32"):
        swr_optax.sequential_plan({"a": jnp.ones(2, jnp.int32)}, [("a",)])


def test_group_fn():
    plan = swr_optax.sequential_plan(PARAMS, [("a", "b")], group_fn=str.upper)
    assert plan.groups == ("A",)


def test_parameters_that_no_layer_names_are_left_alone():
    plan = swr_optax.sequential_plan(PARAMS, ["a"])
    assert plan.left_alone == ("b, since no layer names it",)
    assert str(plan).endswith("left alone: b, since no layer names it")
    assert not swr_optax.sequential_plan(PARAMS, [("a", "b")]).left_alone


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("a", "layers must be a list of layers, not str: put a single layer in a list"),
        (
            swr_optax.SequentialLayer("a"),
            "layers must be a list of layers, not SequentialLayer",
        ),
        (3, "layers must be a list of layers, not int"),
        (None, "layers must be a list of layers, not NoneType"),
        ([3], r"layers\[0\] must be a path, or a tuple of up to five .*, not 3"),
        (["a", None], r"layers\[1\] must be a path, .*, not None"),
        ([()], r"layers\[0\] must be a path, .*, not a tuple"),
        ([("a", "b", False, None, None, 1)], r"layers\[0\] must be a path, .*, not a"),
        ([{"weight": "a"}], r"layers\[0\] must be a path, .*, not a dict"),
        ([(None,)], r"layers\[0\] has None for weight, which must be a path"),
        ([("a", 1)], r"layers\[0\] has 1 for bias, which must be a path"),
        (
            [("a", "b", "b")],
            r"layers\[0\] has 'b' for normalizes, which must be True or False",
        ),
        ([(jnp.ones(2),)], r"layers\[0\] has a ArrayImpl for weight"),
    ],
)
def test_wrong_types_are_named(layers, message):
    with pytest.raises(TypeError, match=message):
        swr_optax.sequential_plan(PARAMS, layers)


def test_a_path_in_both_trees_is_refused():
    with pytest.raises(ValueError, match="params and stats both have a leaf 'b'"):
        swr_optax.sequential_plan(PARAMS, ["a"], stats={"b": jnp.ones(2)})

"""Which axes of a leaf are inputs and outputs, in every layout."""

import jax
import jax.numpy as jnp
import pytest

from architectures import ARCHITECTURES
import swr_optax

X = jnp.ones((8, 6))
IMAGES = jnp.ones((2, 8, 8, 4))
TOKENS = jnp.zeros((8, 5), int)


def conv(x, kernel, layout="HWIO", groups=1):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", layout, "NHWC"),
        feature_group_count=groups,
    )


def lookup(table, tokens):
    return jax.nn.relu(table[tokens])


CASES = {
    "dense": (lambda w, x: x @ w, (6, 3), X, (0,), (1,)),
    "dense (out, in)": (lambda w, x: x @ w.T, (3, 6), X, (1,), (0,)),
    "vector": (lambda w, x: w @ x.T, (6,), X, (0,), ()),
    "one input": (lambda w, x: x[:, :1] @ w, (1, 3), X, (0,), (1,)),
    "one output": (lambda w, x: x @ w, (6, 1), X, (0,), (1,)),
    "one example": (lambda w, x: w @ x[0], (3, 6), X, (1,), (0,)),
    "under vmap": (
        lambda w, x: jax.vmap(lambda row: w @ row)(x),
        (3, 6),
        X,
        (1,),
        (0,),
    ),
    "heads out": (
        lambda w, x: jnp.einsum("bi,ihd->bhd", x, w),
        (6, 2, 3),
        X,
        (0,),
        (1, 2),
    ),
    "heads in": (
        lambda w, x: jnp.einsum("bhd,hdo->bo", x.reshape(8, 2, 3), w),
        (2, 3, 5),
        X,
        (0, 1),
        (2,),
    ),
    "merged": (lambda w, x: x @ w.reshape(6, 3), (2, 3, 3), X, (0, 1), (2,)),
    "two unequal parts": (
        lambda w, x: (
            lambda a, b: (jnp.einsum("bi,ihd->bhd", x, b.reshape(6, 2, 2)), x @ a)
        )(*jnp.split(w, [3], axis=1)),
        (6, 7),
        X,
        (0,),
        (1,),
    ),
    "split": (
        lambda w, x: jnp.einsum("bhd,hdo->bo", x.reshape(8, 2, 3), w.reshape(2, 3, 5)),
        (6, 5),
        X,
        (0,),
        (1,),
    ),
    "half summed": (
        lambda w, x: jnp.einsum("bi,ijk->bjk", x, w.reshape(6, 2, 3)),
        (12, 3),
        X,
        (),
        (1,),
    ),
    "cut": (lambda w, x: x @ w[:6], (9, 3), X, (0,), (1,)),
    "two tables": (
        lambda w, x: x @ jnp.concatenate([w, 2 * w], axis=1),
        (6, 3),
        X,
        (0,),
        (1,),
    ),
    "weight norm": (
        lambda w, x: x @ (w / jnp.linalg.norm(w, axis=0)),
        (6, 3),
        X,
        (0,),
        (1,),
    ),
    "convolution": (conv, (3, 3, 4, 5), IMAGES, (0, 1, 2), (3,)),
    "convolution OIHW": (
        lambda w, x: conv(x, w, "OIHW"),
        (5, 4, 3, 3),
        IMAGES,
        (1, 2, 3),
        (0,),
    ),
    "grouped": (
        lambda w, x: conv(x, w, groups=2),
        (3, 3, 2, 6),
        IMAGES,
        (0, 1, 2),
        (3,),
    ),
    "scale": (lambda w, x: x * w, (6,), X, (), (0,)),
    "broadcast scale": (lambda w, x: x * w, (1, 6), X, (), (1,)),
    "lookup": (lambda w, x: lookup(w, x), (9, 4), TOKENS, (0,), (1,)),
    "one-hot lookup": (
        lambda w, x: jax.nn.one_hot(x, 9) @ w,
        (9, 4),
        TOKENS,
        (0,),
        (1,),
    ),
}
CASES["convolution"] = (lambda w, x: conv(x, w), *CASES["convolution"][1:])


@pytest.mark.parametrize("name", CASES)
def test_a_weights_axes_are_found_by_what_is_done_with_it(name):
    fn, shape, x, inputs, outputs = CASES[name]
    plan = swr_optax.plan_rescaling(fn, jnp.ones(shape), x)
    (leaf,) = plan.leaves
    assert leaf.role == "weight"
    assert (leaf.input_axes, leaf.output_axes) == (inputs, outputs)


def test_shifts_have_outputs_alone():
    def fn(params, x):
        x = x @ params["w"].reshape(6, 6) + params["b"].reshape(6) + params["row"]
        return jax.nn.relu(x.reshape(2, 4, 6) + params["position"])

    params = {
        "w": jnp.ones((6, 2, 3)),
        "b": jnp.ones((2, 3)),
        "row": jnp.ones((1, 6)),
        "position": jnp.ones((4, 6)),
    }
    leaves = swr_optax.plan_rescaling(fn, params, X).leaves
    found = {leaf.path: (leaf.input_axes, leaf.output_axes) for leaf in leaves}
    assert found == {
        "w": ((0,), (1, 2)),
        "b": ((), (0, 1)),
        "row": ((), (1,)),
        "position": ((), (0, 1)),
    }


def stacked_scan(params, x):
    def block(x, p):
        return jax.nn.relu(p["w"] @ x + p["b"]), None

    return jax.lax.scan(block, x.T, {"w": params["w"], "b": params["b"]})[0]


def stacked_vmap(params, x):
    return jax.vmap(lambda w, b: jax.nn.relu(w @ x.T + b))(params["w"], params["b"])


def stacked_index(params, x):
    x = x.T
    for i in range(3):
        x = jax.nn.relu(params["w"][i] @ x + params["b"][i])
    return x


@pytest.mark.parametrize("fn", [stacked_scan, stacked_vmap, stacked_index])
def test_axes_of_slices_are_those_of_a_slice(fn):
    params = {"w": jnp.ones((3, 6, 6)), "b": jnp.ones((3, 6, 1))}
    plan = swr_optax.plan_rescaling(fn, params, X)
    weights = [leaf for leaf in plan.leaves if leaf.path == "w"]
    assert [leaf.index for leaf in weights] == [0, 1, 2]
    assert {(leaf.input_axes, leaf.output_axes) for leaf in weights} == {((1,), (0,))}
    shifts = [leaf for leaf in plan.leaves if leaf.path == "b"]
    assert {(leaf.input_axes, leaf.output_axes) for leaf in shifts} == {((), (0,))}


def test_a_leaf_knows_its_layer():
    def fn(params, x):
        x = jax.nn.relu((x + params["first"]) @ params["w1"] + params["b1"])
        return x @ params["w2"] + params["b2"]

    params = {
        "first": jnp.ones(6),
        "w1": jnp.ones((6, 5)),
        "b1": jnp.ones(5),
        "w2": jnp.ones((5, 2)),
        "b2": jnp.ones(2),
        "idle": jnp.ones(3),
    }
    leaves = swr_optax.plan_rescaling(fn, params, X).leaves
    layers = {leaf.path: leaf.layer for leaf in leaves}
    assert layers == {"first": -1, "w1": 0, "b1": 0, "w2": 1, "b2": 1, "idle": -1}
    assert {leaf.path: leaf.fan_in for leaf in leaves if leaf.role == "weight"} == {
        "w1": 6,
        "w2": 5,
    }


def by_path(name):
    case = ARCHITECTURES[name]()
    plan = swr_optax.plan_rescaling(
        case.train, case.params, *case.inputs, stats=case.stats
    )
    return {leaf.name: (leaf.input_axes, leaf.output_axes) for leaf in plan.leaves}


def test_a_transformer():
    found = by_path("gpt")
    attention = "TransformerBlock_0/MultiHeadDotProductAttention_0"
    assert found[f"{attention}/query/kernel"] == ((0,), (1, 2))
    assert found[f"{attention}/query/bias"] == ((), (0, 1))
    assert found[f"{attention}/out/kernel"] == ((0, 1), (2,))
    assert found["Embed_0/embedding"] == ((0,), (1,))
    assert found["Embed_1/embedding"] == ((), (1,))


@pytest.mark.parametrize("name", ["lstm", "equinox cnn-bn", "haiku mlp"])
def test_every_axis_of_a_usual_network_is_one_or_the_other(name):
    case = ARCHITECTURES[name]()
    plan = swr_optax.plan_rescaling(
        case.train, case.params, *case.inputs, stats=case.stats
    )
    for leaf in plan.leaves[: plan.parameters]:
        long = {axis for axis, size in enumerate(leaf.shape) if size > 1}
        assert {*leaf.input_axes, *leaf.output_axes} >= long

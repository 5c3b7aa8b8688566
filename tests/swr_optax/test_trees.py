"""Parameters in trees of many kinds: rescaled right, or refused in one line."""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import chex
import equinox as eqx
import flax
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax

X = jax.random.normal(jax.random.key(9), (5, 4))
ARRAYS = {
    "w": jax.random.normal(jax.random.key(0), (4, 8)),
    "b": jax.random.normal(jax.random.key(1), (8,)),
    "v": jax.random.normal(jax.random.key(2), (8, 3)),
}


def network(w, b, v, x):
    return jax.nn.relu(x @ w + b) @ v


def of_items(p, x):
    return network(p["w"], p["b"], p["v"], x)


def of_attributes(p, x):
    return network(p.w, p.b, p.v, x)


def with_items(**others):
    return of_items, {**ARRAYS, **others}


class Named(NamedTuple):
    w: Any
    b: Any
    v: Any
    nothing: Any = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Registered:
    w: Any
    b: Any
    v: Any


@flax.struct.dataclass
class Struct:
    w: Any
    b: Any
    v: Any
    name: str = flax.struct.field(pytree_node=False, default="net")


class Module(eqx.Module):
    w: jax.Array
    b: jax.Array
    v: jax.Array
    activation: Callable = jax.nn.relu

    def __call__(self, x):
        return network(self.w, self.b, self.v, x)


class Variables(nnx.Module):
    def __init__(self):
        self.w, self.b, self.v = (nnx.Param(ARRAYS[k]) for k in ("w", "b", "v"))

    def __call__(self, x):
        return network(self.w[...], self.b[...], self.v[...], x)


def arrays_of_a_module():
    arrays, rest = eqx.partition(Module(**ARRAYS), eqx.is_array)
    return lambda p, x: eqx.combine(p, rest)(x), arrays


def nnx_state():
    graph, state = nnx.split(Variables())
    return lambda p, x: nnx.merge(graph, p)(x), state


def gained(p, x):
    return of_items(p, x) * p["g"]


def linear(p, x):
    return (x @ p["w"] + p["b"]) @ p["v"]


def complex_arrays(names):
    return {k: v * (1 + 2j) if k in names else v for k, v in ARRAYS.items()}


RIGHT = {
    "dict": lambda: (of_items, ARRAYS),
    "None leaves": lambda: with_items(n=None, m={"a": None}),
    "empty subtrees": lambda: with_items(n={}, l=[], t=((), {})),
    "FrozenDict": lambda: (of_items, flax.core.freeze(ARRAYS)),
    "NamedTuple": lambda: (of_attributes, Named(**ARRAYS)),
    "dataclass": lambda: (of_attributes, Registered(**ARRAYS)),
    "flax.struct": lambda: (of_attributes, Struct(**ARRAYS)),
    "Equinox module": arrays_of_a_module,
    "nnx.State": nnx_state,
    "list": lambda: (lambda p, x: network(*p, x), [ARRAYS[k] for k in ("w", "b", "v")]),
    "numbers for keys": lambda: (
        lambda p, x: network(p[0], p[1], p[2], x),
        dict(enumerate(ARRAYS[k] for k in ("w", "b", "v"))),
    ),
    "one array": lambda: (lambda p, x: x @ p, ARRAYS["w"]),
    "a scalar": lambda: (gained, {**ARRAYS, "g": jnp.float32(-2)}),
    "a Python number": lambda: (gained, {**ARRAYS, "g": 2.0}),
    "NumPy arrays": lambda: (of_items, jax.tree.map(np.asarray, ARRAYS)),
    "an array of no entries": lambda: with_items(z=jnp.zeros((0, 3))),
    "no hidden units": lambda: (
        of_items,
        {"w": jnp.ones((4, 0)), "b": jnp.ones(0), "v": jnp.ones((0, 3))},
    ),
    "complex arrays": lambda: (linear, complex_arrays("wbv")),
    "some complex arrays": lambda: (linear, complex_arrays("v")),
}


@pytest.mark.parametrize("tree", RIGHT)
def test_a_tree_is_rescaled_right(tree):
    """Weights double in the step and go half of the way back; the rest follows."""
    fn, params = RIGHT[tree]()
    plan = swr_optax.plan_rescaling(fn, params, X)
    assert not plan.unmet
    assert swr_optax.check(plan, fn, params, X).deviation < 1e-5
    tx = optax.chain(optax.identity(), swr_optax.soft_weight_rescaling(0.5, plan))
    state = tx.init(params)
    updates, state = tx.update(params, state, params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    chex.assert_trees_all_equal_dtypes(updates, jax.tree.map(jnp.asarray, params))
    moved = optax.apply_updates(params, updates)
    growth = swr_optax.metrics.weight_growth(moved, params, plan)
    there = swr_optax.metrics.weight_norms(params, plan) > 0
    np.testing.assert_allclose(growth[there], 1.5, rtol=1e-5)
    doubled = jax.tree.map(lambda p: 2 * p, params)
    expected = swr_optax.rescale(doubled, jnp.log(jnp.where(there, 0.75, 1)), plan)
    chex.assert_trees_all_close(moved, expected, rtol=1e-5)
    reset = swr_optax.reset_reference_norms(state, moved, plan)
    assert jax.tree.structure(reset) == jax.tree.structure(state)
    carried = swr_optax.carry_reference_norms(state, plan, tx.init(moved), plan)
    chex.assert_trees_all_equal(
        carried[1].reference_norms, tx.init(params)[1].reference_norms
    )


REFUSED = {
    "a whole Equinox module": (
        lambda p, x: p(x),
        Module(**ARRAYS),
        "parameter activation must be an array, not custom_jvp: leave out of params",
    ),
    "text": (*with_items(k="relu"), "parameter k must be an array, not str: leave"),
    "MaskedNode": (
        *with_items(k=optax.MaskedNode()),
        "parameter k must be an array, not MaskedNode",
    ),
    "whole numbers": (*with_items(k=jnp.arange(3)), "parameter k has dtype int32, wh"),
    "truth": (*with_items(k=True), "parameter k has dtype bool, which cannot be"),
    "a key": (*with_items(k=jax.random.key(0)), "parameter k has dtype key<fry>, wh"),
    "8 bits": (
        *with_items(k=jnp.ones(2, jnp.float8_e4m3fn)),
        "parameter k has dtype float8_e4m3fn, in which small factors are lost: keep",
    ),
    "one path twice": (
        *with_items(**{"a/b": jnp.ones(2), "a": {"b": jnp.ones(2)}}),
        "two leaves have the path 'a/b': rename one",
    ),
    "None": (lambda _, x: x, None, "fn multiplies its inputs by none of the parame"),
}


@pytest.mark.parametrize("tree", REFUSED)
def test_a_tree_is_refused_in_one_line(tree):
    fn, params, words = REFUSED[tree]
    with pytest.raises((TypeError, ValueError)) as error:
        swr_optax.plan_rescaling(fn, params, X)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_masked_nodes_are_passed_on():
    """What a plan was made for may be masked out later."""
    plan = swr_optax.plan_rescaling(of_items, ARRAYS, X)
    tx = swr_optax.soft_weight_rescaling({"feature": 0.0, "classifier": 0.5}, plan)
    params = {**ARRAYS, "b": optax.MaskedNode()}
    updates, _ = tx.update(params, tx.init(params), params)
    assert updates["b"] == optax.MaskedNode()
    np.testing.assert_allclose(updates["v"], 0.5 * ARRAYS["v"], rtol=1e-5)


def test_a_weight_of_no_entries_is_said_to_be_unmet():
    """It has no norm and stays, whatever the sum that it is part of does."""

    def fn(p, x):
        return of_items(p, x) + x[:, :0] @ p["z"]

    plan = swr_optax.plan_rescaling(fn, {**ARRAYS, "z": jnp.zeros((0, 3))}, X)
    assert plan.unmet

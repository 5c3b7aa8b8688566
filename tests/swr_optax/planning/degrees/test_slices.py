"""Slices through every primitive: a change of one must stay in its own place."""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from swr_optax.planning.degrees import _slices
from swr_optax.planning.degrees._primitives import PRIMITIVES
from swr_optax.planning.degrees._slices import SliceAxis

A, B = (2, 3, 4), (2, 3, 4)


def grouped(x, kernel):
    """Groups of two channels each, as vmap of a convolution makes them."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // 2,
    )


def plain(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def looked_up(table, index):
    return jax.vmap(lambda table, index: table[index])(table, index % 3)


# Primitive, operands' shapes, and for some places where they must be found.
CASES = {
    "add": (lax.add, (A, B), {(0, 1): 1, (1, 2): 2}),
    "add, broadcast": (lambda a, b: a + b[:1], (A, B), {(0, 2): 2}),
    "select_n": (lambda a, b: lax.select(a > 0, a, b), (A, B), {(0, 0): 0}),
    "integer_pow": (lambda a: a**3, (A,), {(0, 0): 0}),
    "convert_element_type": (lambda a: a.astype(jnp.float16), (A,), {(0, 2): 2}),
    "broadcast_in_dim": (lambda a: jnp.broadcast_to(a, (5, *A)), (A,), {(0, 1): 2}),
    "transpose": (lambda a: a.transpose(2, 0, 1), (A,), {(0, 2): 0, (0, 0): 1}),
    "reshape": (
        lambda a: a.reshape(6, 4),
        (A,),
        {(0, 0): SliceAxis(0, 2, inner=3), (0, 1): SliceAxis(0, 3), (0, 2): 1},
    ),
    "reshape, back": (
        lambda a: lax.reshape(lax.reshape(a, (4, 6), (2, 0, 1)), (4, 2, 3)),
        (A,),
        {},
    ),
    "reshape, mixed": (lambda a: a.reshape(3, 8), (A,), {(0, 0): None, (0, 1): None}),
    "reshape, across": (lambda a: a.reshape(6, 2), ((2, 2, 3),), {(0, 1): None}),
    "squeeze": (lambda a: lax.squeeze(a, (1,)), ((2, 1, 3),), {(0, 2): 1, (0, 0): 0}),
    "reduce_sum": (lambda a: a.sum((0, 2)), (A,), {(0, 1): 0, (0, 0): None}),
    "reduce_max": (lambda a: a.max(1), (A,), {(0, 2): 1}),
    "reduce_min": (lambda a: a.min(1), (A,), {(0, 2): 1}),
    "reduce_prod": (lambda a: a.prod(1), (A,), {(0, 2): 1}),
    "reduce_and": (lambda a: (a > 0).all(1), (A,), {}),
    "reduce_or": (lambda a: (a > 0).any(1), (A,), {}),
    "argmax": (lambda a: a.argmax(1), (A,), {}),
    "argmin": (lambda a: a.argmin(1), (A,), {}),
    "concatenate": (
        lambda a, b: jnp.concatenate([a, b], 1),
        (A, B),
        {(0, 0): 0, (1, 2): 2, (1, 1): None},
    ),
    "rev": (lambda a: a[:, ::-1], (A,), {(0, 0): 0, (0, 1): None}),
    "sort": (lambda a: jnp.sort(a, 1), (A,), {(0, 0): 0, (0, 1): None}),
    "split": (lambda a: jnp.split(a, 2, 2)[1], (A,), {(0, 1): 1, (0, 2): None}),
    "cumsum": (lambda a: a.cumsum(1), (A,), {(0, 0): 0, (0, 1): None}),
    "cumprod": (lambda a: a.cumprod(1), (A,), {(0, 0): 0, (0, 1): None}),
    "cummax": (lambda a: lax.cummax(a, 1), (A,), {(0, 0): 0, (0, 1): None}),
    "cummin": (lambda a: lax.cummin(a, 1), (A,), {(0, 0): 0, (0, 1): None}),
    "cumlogsumexp": (lambda a: lax.cumlogsumexp(a, 1), (A,), {(0, 0): 0, (0, 1): None}),
    "stack": (
        lambda a, b: jnp.stack([a, b], 1),
        (A, B),
        {(0, 0): 0, (1, 1): 2, (0, 2): 3},
    ),
    "unstack": (
        lambda a: jnp.unstack(a, axis=1)[0],
        (A,),
        {(0, 0): 0, (0, 2): 1, (0, 1): None},
    ),
    "reduce_xor": (
        lambda a: lax.reduce((a > 0).astype(int), 0, lax.bitwise_xor, (1,)),
        (A,),
        {},
    ),
    "slice": (lambda a: a[:, 1:], (A,), {(0, 0): 0, (0, 1): None}),
    "dynamic_slice": (
        lambda a: lax.dynamic_slice(a, (0, 1, 0), (2, 2, 4)),
        (A,),
        {(0, 2): 2, (0, 1): None},
    ),
    "pad": (
        lambda a: jnp.pad(a, ((0, 0), (1, 0), (0, 0))),
        (A,),
        {(0, 0): 0, (0, 1): None},
    ),
    "pad, shifted": (
        lambda a: lax.pad(a, 0.0, ((0, 0, 0), (1, -1, 0), (0, 0, 0))),
        (A,),
        {(0, 0): 0, (0, 1): None},
    ),
    "reduce_window_sum": (
        lambda a: lax.reduce_window(
            a, 0.0, lax.add, (1, 2, 1), (1, 1, 1), ((0, 0), (1, 0), (0, 0))
        ),
        (A,),
        {(0, 0): 0, (0, 1): None, (0, 2): 2},
    ),
    "reduce_window_max": (
        lambda a: lax.reduce_window(a, -jnp.inf, lax.max, (1, 2, 1), (1, 1, 1), "SAME"),
        (A,),
        {(0, 0): 0, (0, 1): None},
    ),
    "reduce_window_min": (
        lambda a: lax.reduce_window(a, jnp.inf, lax.min, (1, 2, 1), (1, 1, 1), "SAME"),
        (A,),
        {(0, 0): 0, (0, 1): None},
    ),
    "dot_general": (
        lambda a, b: jnp.einsum("eij,ekj->eik", a, b),
        (A, (2, 5, 4)),
        {(0, 0): 0, (0, 1): 1, (0, 2): None, (1, 0): 0, (1, 1): 2},
    ),
    "dot_general, shared input": (
        lambda a, b: lax.dot_general(a, b, (((2,), (1,)), ((), ()))),
        (A, (5, 4, 3)),
        {(0, 0): 0, (1, 0): 2, (1, 2): 3},
    ),
    "conv_general_dilated": (
        plain,
        ((2, 5, 5, 3), (3, 3, 3, 4)),
        {
            (0, 0): 0,
            (0, 1): None,
            (0, 3): None,
            (1, 3): 3,
            (1, 2): None,
            (1, SliceAxis(3, 2, inner=2)): SliceAxis(3, 2, inner=2),
        },
    ),
    "conv_general_dilated, grouped": (
        grouped,
        ((2, 5, 5, 4), (3, 3, 2, 6)),
        {
            (0, SliceAxis(3, 2, inner=2)): SliceAxis(3, 2, inner=3),
            (0, 3): None,
            (1, SliceAxis(3, 2, inner=3)): SliceAxis(3, 2, inner=3),
        },
    ),
    "conv_general_dilated, grouped in slices that are there twice": (
        grouped,
        ((2, 5, 5, 8), (3, 3, 2, 12)),
        {
            (0, SliceAxis(3, 2, inner=2)): SliceAxis(3, 2, inner=3),
            (0, SliceAxis(3, 2, inner=4)): SliceAxis(3, 2, inner=6),
            (0, SliceAxis(3, 4, inner=2)): SliceAxis(3, 4, inner=3),
            (0, SliceAxis(3, 2)): None,
        },
    ),
    "gather": (lambda a: a[:, jnp.array([2, 0])], (A,), {(0, 0): 0, (0, 2): 2}),
    "gather, in part": (
        lambda a, i: jax.vmap(lambda i: lax.dynamic_slice(a, (i, 0, 0), (1, 3, 4)))(i),
        (A, (5,)),
        {(0, 0): None, (0, 1): 2},
    ),
    "gather, batched": (
        looked_up,
        (A, (2, 5)),
        {(0, 0): 0, (0, 1): None, (0, 2): 2, (1, 0): 0},
    ),
    "scatter": (
        lambda a, b: a.at[:, jnp.array([2, 0])].set(b),
        (A, (2, 2, 4)),
        {(0, 0): 0, (0, 1): None, (0, 2): 2, (2, 0): 0, (2, 1): None, (2, 2): 2},
    ),
    "scatter, in front": (
        lambda a, b: a.at[jnp.array([1, 0, 1])].set(b),
        (A, (3, 3, 4)),
        {(0, 0): None, (0, 1): 1, (2, 0): None, (2, 1): 1, (2, 2): 2},
    ),
    "scatter, in part": (
        lambda a, b: a.at[:, 1:3, 1:].set(b),
        (A, (2, 2, 3)),
        {(0, 0): 0, (0, 1): None, (2, 1): None, (2, 2): None},
    ),
    "scatter, batched": (
        lambda a, i, b: jax.vmap(lambda a, i, b: a.at[i].set(b))(a, i % 3, b),
        (A, (2, 5), (2, 5, 4)),
        {(0, 0): 0, (0, 1): None, (0, 2): 2, (1, 0): 0, (2, 0): 0, (2, 1): None},
    ),
    "scatter, batched behind": (
        lambda a, i, b: lax.scatter(
            a,
            i % 3,
            b,
            lax.ScatterDimensionNumbers((0,), (1,), (1,), (0,), (0,)),
        ),
        (A, (2, 5, 1), (4, 2, 5)),
        {(0, 0): 0, (0, 1): None, (1, 0): 0, (2, 0): 2, (2, 1): 0, (2, 2): None},
    ),
    **{
        f"scatter-{name}": (
            lambda a, b, name=name: getattr(a.at[:, jnp.array([1, 1])], name)(b),
            (A, (2, 2, 4)),
            {(0, 0): 0, (0, 1): None, (2, 0): 0, (2, 1): None, (2, 2): 2},
        )
        for name in ("add", "max", "min", "mul")
    },
    "scatter-sub": (
        lambda a, b: lax.scatter_sub(
            a,
            jnp.array([[1], [0]]),
            b,
            lax.ScatterDimensionNumbers((0, 2), (1,), (1,)),
        ),
        (A, (2, 2, 4)),
        {(0, 0): 0, (0, 1): None, (2, 0): 0, (2, 1): None, (2, 2): 2},
    ),
    "dynamic_update_slice": (
        lambda a, b: lax.dynamic_update_slice(a, b, (0, 1, 0)),
        (A, (2, 2, 4)),
        {(0, 0): 0, (0, 1): None, (1, 1): None, (1, 2): 2},
    ),
    "tile": (
        lambda a: lax.tile(a, (1, 2, 1)),
        (A,),
        {(0, 0): 0, (0, 1): None, (0, 2): 2},
    ),
    "top_k": (lambda a: lax.top_k(a, 2), (A,), {(0, 1): 1, (0, 2): None}),
    "approx_top_k": (
        lambda a: lax.approx_max_k(a, 2, reduction_dimension=1),
        (A,),
        {(0, 0): 0, (0, 1): None, (0, 2): 2},
    ),
    "fft": (
        lambda a: jnp.fft.fft2(a.astype(complex)),
        ((2, 3, 4, 2),),
        {(0, 0): 0, (0, 1): 1, (0, 2): None, (0, 3): None},
    ),
}

WITH_INDICES = (
    *("gather, in part", "gather, batched"),
    *("scatter, batched", "scatter, batched behind"),
)
"""Cases whose second operand is of whole numbers."""


FOLLOWED = {
    name: entry.follow
    for name, entry in PRIMITIVES.items()
    if entry.follow is not _slices.mixed
}
ELEMENTWISE = [name for name, rule in FOLLOWED.items() if rule is _slices.elementwise]


def follow(eqn, operand, along):
    return FOLLOWED[eqn.primitive.name](eqn, operand, along)


def equations(jaxpr):
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "jit":
            yield from equations(eqn.params["jaxpr"].jaxpr)
        else:
            yield eqn


def equation_of(case):
    """The case's last equation with its primitive, and random operands for it."""
    fn, shapes, _ = CASES[case]
    name = case.split(",")[0]
    arrays = [
        jnp.zeros(shape, int if k == 1 and case in WITH_INDICES else float)
        for k, shape in enumerate(shapes)
    ]
    jaxpr = jax.make_jaxpr(fn)(*arrays).jaxpr
    eqn = [eqn for eqn in equations(jaxpr) if eqn.primitive.name == name][-1]
    rng = np.random.default_rng(0)
    operands = [
        atom.val
        if hasattr(atom, "val")
        else jnp.asarray(10 * rng.uniform(size=atom.aval.shape), atom.aval.dtype) % 2
        if jnp.issubdtype(atom.aval.dtype, jnp.integer)
        else jnp.asarray(rng.normal(size=atom.aval.shape)).astype(atom.aval.dtype)
        for atom in eqn.invars
    ]
    return eqn, operands


def evaluate(eqn, operands):
    results = eqn.primitive.bind(*operands, **eqn.params)
    results = results if eqn.primitive.multiple_results else [results]
    return [np.asarray(result) for result in results]


def slice_of(shape, place):
    """For each element of an array the number of the slice that it is in."""
    number = np.arange(shape[place.axis]) // place.inner % place.length
    behind = len(shape) - place.axis - 1
    return np.broadcast_to(number.reshape(-1, *(1,) * behind), shape)


def places_in(shape):
    for axis, size in enumerate(shape):
        for length in range(2, size + 1):
            for inner in range(1, size // length + 1):
                if size % (length * inner) == 0:
                    yield SliceAxis(axis, length, inner)


@pytest.mark.parametrize("case", CASES)
def test_a_change_of_one_slice_stays_in_its_place(case):
    eqn, operands = equation_of(case)
    operands = [np.asarray(operand) for operand in operands]
    before = evaluate(eqn, operands)
    rng = np.random.default_rng(1)
    for k, operand in enumerate(operands):
        for place in places_in(np.shape(operand)):
            after = follow(eqn, k, place)
            if after is None:
                continue
            for i in range(place.length):
                here = slice_of(operand.shape, place) == i
                other = rng.permutation(operand.ravel()).reshape(operand.shape)
                if operand.dtype == bool or jnp.issubdtype(operand.dtype, jnp.integer):
                    other = 1 - operand
                changed = np.where(here, other, operand).astype(operand.dtype)
                results = evaluate(eqn, [*operands[:k], changed, *operands[k + 1 :]])
                for old, new in zip(before, results, strict=True):
                    elsewhere = slice_of(old.shape, after) != i
                    np.testing.assert_array_equal(new[elsewhere], old[elsewhere])


@pytest.mark.parametrize("case", CASES)
def test_follows_slices_where_it_can(case):
    eqn, operands = equation_of(case)
    for (k, before), after in CASES[case][2].items():
        if isinstance(before, int):
            before = SliceAxis(before, np.shape(operands[k])[before])
        if isinstance(after, int):
            after = SliceAxis(after, before.length)
        assert follow(eqn, k, before) == after


def test_every_rule_is_tested():
    assert set(FOLLOWED) - set(ELEMENTWISE) <= {case.split(",")[0] for case in CASES}


WITH_PARAMETERS = (
    "bitcast_convert_type",
    "convert_element_type",
    "clamp",
    "imag",
    "integer_pow",
    "real",
    "reduce_precision",
    "round",
)
OF_BITS = (
    "clz",
    "population_count",
    "shift_left",
    "shift_right_arithmetic",
    "shift_right_logical",
)
FUNCTIONS = [
    name
    for name in ELEMENTWISE
    if hasattr(lax, name) and name not in (*WITH_PARAMETERS, "select_n", *OF_BITS)
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_works_on_each_element_alone(name):
    arrays = [jnp.linspace(0.1, 0.9, 6), jnp.linspace(2.0, 3.0, 6)]
    order = np.array([3, 1, 5, 0, 2, 4])
    operate = getattr(lax, name)
    try:
        expected = operate(*arrays)
    except TypeError:
        arrays = arrays[:1]
        expected = operate(*arrays)
    found = operate(*(array[order] for array in arrays))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected)[order])

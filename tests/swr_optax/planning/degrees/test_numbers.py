"""What is known of constants holds each of their entries, by whatever primitive."""

import math

import chex
from hypothesis import example, given, settings, strategies as st
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from swr_optax.planning.degrees import Value, Walk, walk_network
from swr_optax.planning.degrees._numbers import (
    MOST_NUMBERS,
    SCALE_FREE,
    is_scale_free,
    numbers_in,
    only_number,
    union,
)

CONSTANTS = [
    0.0,
    1.0,
    -2.0,
    0.5,
    math.inf,
    -math.inf,
    math.nan,
    3,
    -1,
    True,
    2j,
    np.array([0.0, -math.inf]),
    np.array([1.0, 2.0]),
    np.float16(0.1),
]


def to_integer(c):
    return jnp.clip(jnp.nan_to_num(c.real), -9, 9).astype(jnp.int8)


def in_one_type(a, b):
    """Both, cast in programs of their own.

    XLA takes a product with a cast boolean for a choice, so that false times infinity
    is zero there, where the planner expects NaN; either agrees with any scale.
    """
    dtype = jnp.result_type(a, b)
    return a.astype(dtype), b.astype(dtype)


UNARY = {
    "neg": lambda c: -c,
    "abs": jnp.abs,
    "square": lambda c: lax.square(c),
    "sqrt": jnp.sqrt,
    "rsqrt": lambda c: lax.rsqrt(c.real.astype(jnp.float32)),
    "cbrt": lambda c: lax.cbrt(c.real.astype(jnp.float32)),
    "cube": lambda c: c**3,
    "inverse": lambda c: c.real.astype(jnp.float32) ** -1,
    "exp": jnp.exp,
    "log": jnp.log,
    "tanh": jnp.tanh,
    "real": jnp.real,
    "imag": jnp.imag,
    "conj": jnp.conj,
    "to half": lambda c: c.real.astype(jnp.bfloat16),
    "to integer": to_integer,
    "to bool": lambda c: c.real.astype(bool),
    "to float": lambda c: c.real.astype(jnp.float32),
    "not": jnp.logical_not,
    "all": jnp.all,
    "any": jnp.any,
    "all bits": lambda c: lax.reduce(
        jnp.atleast_1d(to_integer(c)), np.int8(-1), lax.bitwise_and, [0]
    ),
    "sum": jnp.sum,
    "cumsum": lambda c: jnp.cumsum(jnp.atleast_1d(c)),
    "product": jnp.prod,
    "max": lambda c: jnp.max(c.real),
    "cummax": lambda c: lax.cummax(jnp.atleast_1d(c.real)),
    "sort": lambda c: jnp.sort(jnp.atleast_1d(c.real)),
    "pool": lambda c: lax.reduce_window(
        jnp.broadcast_to(c.real.astype(jnp.float32), (2,)),
        -jnp.inf,
        lax.max,
        (1,),
        (1,),
        ((1, 0),),
    ),
    "pad": lambda c: jnp.pad(jnp.atleast_1d(c), 1, constant_values=7),
    "reshape": lambda c: jnp.reshape(c, (-1, 1)),
    "fill": lambda c: jnp.atleast_1d(c).at[5].get(mode="fill", fill_value=4),
    "fill another type": lambda c: (
        to_integer(jnp.atleast_1d(c)).at[5].get(mode="fill", fill_value=2.7)
    ),
    "outside": lambda c: jnp.atleast_1d(c.real).at[5].get(mode="fill"),
    "take": lambda c: jnp.atleast_1d(c)[jnp.array([0, 0])],
    "write": lambda c: lax.dynamic_update_slice(
        jnp.atleast_1d(c), jnp.ones(1, c.dtype), (0,)
    ),
    "full": lambda c: jnp.full((10000,), c).sum(),
    "iota": lambda c: jnp.arange(5) * c,
    "fft": lambda c: jnp.fft.fft(jnp.atleast_1d(c)),
    "barrier": lambda c: lax.optimization_barrier(c),
}

BINARY = {
    "add": jnp.add,
    "subtract": jnp.subtract,
    "multiply": lambda a, b: jnp.multiply(*in_one_type(a, b)),
    "divide": lambda a, b: jnp.divide(*in_one_type(a, b)),
    "power": lambda a, b: jnp.power(a.real.astype(jnp.float32), b.real),
    "maximum": lambda a, b: jnp.maximum(a.real, b.real),
    "minimum": lambda a, b: jnp.minimum(a.real, b.real),
    "clip": lambda a, b: jnp.clip(a.real, -b.real, b.real),
    "where": lambda a, b: jnp.where(a.real > b.real, a, b),
    "equal": lambda a, b: a == b,
    "and": jnp.logical_and,
    "or": jnp.logical_or,
    "bits": lambda a, b: jnp.bitwise_and(to_integer(a), to_integer(b)),
    "less": lambda a, b: a.real < b.real,
    "complex": lambda a, b: lax.complex(
        *(x.real.astype(jnp.float32) for x in jnp.broadcast_arrays(a, b))
    ),
    "stack": lambda a, b: jnp.stack(jnp.broadcast_arrays(a, b)),
    "concatenate": lambda a, b: jnp.concatenate([jnp.atleast_1d(a), jnp.atleast_1d(b)]),
    "matmul": lambda a, b: jnp.dot(
        jnp.broadcast_to(a, (2,)), jnp.broadcast_to(b, (2,))
    ),
    "remainder": lambda a, b: lax.rem(
        *(x.real.astype(jnp.float32) for x in jnp.broadcast_arrays(a, b))
    ),
    "branch": lambda a, b: (
        lax.cond(
            a.real.ravel()[0] > 0,
            lambda: a.ravel()[0] * 1.0,
            lambda: b.ravel()[0] * 1.0,
        ).real
        if a.dtype == b.dtype
        else a
    ),
    "loop": lambda a, b: lax.fori_loop(
        0, 3, lambda i, c: c + i * 0 + b.real.sum(), a.real.astype(float).sum()
    ),
    "endless loop": lambda a, b: lax.while_loop(
        lambda c: (c > 1) & (c < 99), lambda c: c * 2 + b.real.sum(), 1.5 + a.real.sum()
    ),
}


def known_of(fn):
    """What a walk knows of the values that a function without inputs computes."""
    jaxpr = jax.make_jaxpr(fn)()
    values = walk_network(Walk([], {}, []), jaxpr, [])
    return [value if isinstance(value, Value) else Value(None) for value in values]


def holds(numbers, array):
    """Whether each entry of an array is in a set, up to its own rounding."""
    array = np.atleast_1d(np.asarray(array))
    exact = array.dtype.kind in "biu"
    rounding = 1e-2 if array.itemsize < 4 else 1e-5

    def same(entry, number):
        return (
            (np.isnan(entry) and np.isnan(number))
            or entry == number
            or (not exact and np.isclose(entry, number, rounding, 0.1 * rounding))
        )

    return all(
        any(same(entry, complex(number)) for number in numbers)
        for entry in array.ravel().astype(np.complex128)
    )


@given(
    constants=st.lists(st.sampled_from(range(len(CONSTANTS))), min_size=1, max_size=3),
    program=st.lists(
        st.tuples(
            st.sampled_from([*UNARY, *BINARY]), st.integers(0, 9), st.integers(0, 9)
        ),
        min_size=1,
        max_size=4,
    ),
)
@example([0], [("all", 0, 0), ("fill", 1, 0)])
@example([0], [("fill another type", 0, 0)])
@example([6, 0], [("complex", 1, 0), ("complex", 1, 2)])
@settings(max_examples=200, deadline=None)
def test_every_entry_is_among_the_known_numbers(constants, program):
    def fn():
        values = [jnp.asarray(CONSTANTS[i]) for i in constants]
        for name, i, j in program:
            a, b = values[i % len(values)], values[j % len(values)]
            values.append(UNARY[name](a) if name in UNARY else BINARY[name](a, b))
        return values

    try:
        found = fn()
    except (TypeError, ValueError):  # Shapes or types that do not go together.
        return
    for known, value in zip(known_of(fn), found, strict=True):
        assert known.numbers is None or holds(known.numbers, value)
        assert not known.positive or not (value < 0).any()


@pytest.mark.parametrize(
    ("fn", "number"),
    [
        (lambda: -jnp.float32(2), -2),
        (lambda: jnp.abs(jnp.float32(-2)), 2),
        (lambda: jnp.imag(jnp.complex64(2j)), 2),
        (lambda: jnp.zeros(3) * 5, 0),
        (lambda: jnp.zeros((2, 3)) @ jnp.ones((3, 2)), 0),
        (lambda: jnp.where(True, 3.0, 4.0) + jnp.zeros(2), 3),
        (lambda: lax.fori_loop(0, 3, lambda _, c: c + 1.0, 1.0), 4),
        (lambda: ~(jnp.zeros(3) == 0).all() | (jnp.ones(2) > 0).any(), True),
    ],
)
def test_plain_constants_are_known(fn, number):
    (known,) = known_of(fn)
    assert only_number(known.numbers) == number


@pytest.mark.parametrize(
    "inverse", [lambda c: 1 / c, lambda c: c**-1, lax.rsqrt, lambda c: lax.pow(c, -1.0)]
)
def test_a_zero_may_have_either_sign(inverse):
    (known,) = known_of(lambda: inverse(jnp.array([0.0, -0.0])))
    assert known.numbers is None or {np.inf, -np.inf} <= known.numbers


@pytest.mark.parametrize(
    "fn",
    [
        lambda: jnp.cumsum(jnp.ones(3)),
        lambda: UNARY["all bits"](jnp.array([1, 2])),
        lambda: jnp.full(10000, 0.01).sum(),
        lambda: lax.while_loop(lambda c: c < 9, lambda c: c + 1, 1.0),
        lambda: lax.fori_loop(0, 100, lambda _, c: c + 1.0, 1.0),
        lambda: jnp.arange(100.0),
    ],
)
def test_what_is_not_known_is_not_claimed(fn):
    (known,) = known_of(fn)
    assert known.numbers is None


def test_sets_stay_small():
    assert numbers_in(np.arange(MOST_NUMBERS)) == frozenset(range(MOST_NUMBERS))
    assert numbers_in(np.arange(MOST_NUMBERS + 1)) is None
    assert union([numbers_in(np.arange(6)), numbers_in(np.arange(4, 10))]) is None
    assert numbers_in(np.zeros(1 << 17)) is None
    assert numbers_in(np.zeros(0)) is None


def test_what_has_every_scale():
    assert is_scale_free(SCALE_FREE)
    assert is_scale_free(numbers_in(np.array([0, -np.inf, np.nan, -0.0])))
    assert not is_scale_free(numbers_in(np.array([0, 1e-300])))
    assert not is_scale_free(numbers_in(np.array(1j)))
    assert not is_scale_free(None)


def test_a_traced_constant_is_not_looked_into():
    chex.assert_equal(
        jax.vmap(lambda c: 1.0 if numbers_in(c) is None else 0.0, out_axes=None)(
            jnp.ones(2)
        ),
        1.0,
    )

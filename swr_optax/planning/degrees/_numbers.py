"""Which numbers the entries of an array can be, where that is known.

Constants decide how a network scales: zero has every scale, an exponent
multiplies degrees, and a counter that is 1 at first need not stay so.  What is
known of an array is a small set that holds each of its entries, or nothing.
"""

from __future__ import annotations

import cmath
from collections.abc import Callable, Sequence
import math
from typing import Any, TypeAlias

import jax
from jax import lax
from jax.extend import core
import jax.numpy as jnp
import numpy as np

Numbers: TypeAlias = frozenset[Any] | None
"""A set that holds each entry of an array; None if it may hold any number."""

Fold: TypeAlias = Callable[[core.JaxprEqn, Sequence[Numbers]], Numbers]
"""From the numbers of an equation's operands to those of its results."""

LARGEST_CONSTANT = 1 << 16
"""Constant arrays with more elements are not looked into."""

MOST_NUMBERS = 8
"""Larger sets are not kept."""

ZERO: Numbers = frozenset({0})
SCALE_FREE = frozenset({0, math.inf, -math.inf, math.nan})
"""These numbers are their own positive multiples, so they agree with any scale."""


def numbers_in(value: Any) -> Numbers:
    """The numbers in an array, unless it is large or not known yet."""
    if isinstance(value, jax.core.Tracer):
        return None
    dtype = jnp.result_type(value)
    known = jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)
    if not known or not 0 < np.size(value) <= LARGEST_CONSTANT:
        return None
    return _as_set(np.asarray(value))


def is_scale_free(numbers: Numbers) -> bool:
    """Whether an array of these numbers is its own multiple by any scale."""
    return numbers is not None and all(
        number in (0, math.inf, -math.inf) or number != number for number in numbers
    )


def only_number(numbers: Numbers) -> float | None:
    """The real number that an array holds everywhere, if it is known."""
    if numbers is None or len(numbers) != 1:
        return None
    (number,) = numbers
    return None if isinstance(number, complex) else float(number)


def union(operands: Sequence[Numbers]) -> Numbers:
    """Numbers from any of several sets."""
    together: set[Any] = set()
    for numbers in operands:
        if numbers is None:
            return None
        together |= numbers
    return frozenset(together) if len(together) <= MOST_NUMBERS else None


# What primitives make of numbers.


def anything(eqn: core.JaxprEqn, operands: Sequence[Numbers]) -> Numbers:
    """Nothing is known of the result."""
    del eqn, operands
    return None


def among(eqn: core.JaxprEqn, operands: Sequence[Numbers]) -> Numbers:
    """Every entry of the result is one of the operands' entries."""
    del eqn
    return union(operands)


def among_booleans(eqn: core.JaxprEqn, operands: Sequence[Numbers]) -> Numbers:
    """The same of true and false; not of integers, whose bits are combined."""
    return union(operands) if dtype_of(eqn.outvars[0]) == np.bool_ else None


def combined(eqn: core.JaxprEqn, operands: Sequence[Numbers]) -> Numbers:
    """Sums of multiples: of zeros zero, of scale-free numbers scale-free."""
    del eqn
    return _free(operands[0])


def padded(eqn: core.JaxprEqn, operands: Sequence[Numbers]) -> Numbers:
    """Extremes or sums within windows, which may hold nothing but padding."""
    del eqn
    return SCALE_FREE if is_scale_free(operands[0]) else None


def looked_up(eqn: core.JaxprEqn, operands: Sequence[Numbers]) -> Numbers:
    """Entries of a table, or what stands for positions outside it."""
    if eqn.params["mode"] != lax.GatherScatterMode.FILL_OR_DROP:
        return operands[0]
    return union([operands[0], filled_in(eqn)])


def filled_in(eqn: core.JaxprEqn) -> Numbers:
    """What a lookup puts in place of entries outside the table, in its type."""
    fill, new = eqn.params["fill_value"], dtype_of(eqn.outvars[0])
    if fill is None:
        return frozenset({math.nan}) if jnp.issubdtype(new, jnp.inexact) else None
    return _in_type(np.asarray(fill), new)


def multiplied(eqn: core.JaxprEqn, operands: Sequence[Numbers]) -> Numbers:
    """Sums of products, of which one scale-free factor makes scale-free ones.

    What is not known, such as data and parameters, is taken to be finite.
    """
    del eqn
    left, right = operands[:2]
    if not (is_scale_free(left) or is_scale_free(right)):
        return None
    finite = all(
        numbers is None or all(map(cmath.isfinite, numbers)) for numbers in operands
    )
    return ZERO if finite and ZERO in (left, right) else SCALE_FREE


def _free(numbers: Numbers) -> Numbers:
    if not is_scale_free(numbers):
        return None
    return ZERO if numbers == ZERO else SCALE_FREE


def computed(
    function: Callable[..., Any], of_complex: bool = False, of_integers: bool = False
) -> Fold:
    """The function of every combination, in the precision of the network.

    Args:
        function: of NumPy arrays, as the primitive is of JAX's.
        of_complex: whether the two agree on complex numbers.
        of_integers: whether they agree on integers.
    """

    def fold(eqn: core.JaxprEqn, operands: Sequence[Numbers]) -> Numbers:
        if None in operands:
            return None
        dtypes = [dtype_of(atom) for atom in eqn.invars]
        result = dtype_of(eqn.outvars[0])
        for dtype in dtypes:
            if jnp.issubdtype(dtype, jnp.complexfloating) and not of_complex:
                return None
            if jnp.issubdtype(dtype, jnp.integer) and not of_integers:
                return None
        arrays = map(_array, operands, dtypes)
        with np.errstate(all="ignore"):
            found = function(*np.meshgrid(*arrays))
        return _as_set(np.asarray(found).astype(result))

    return fold


def _array(numbers: Numbers, dtype: np.dtype[Any]) -> np.ndarray:
    """The numbers; a zero with either sign, which decides what becomes infinite."""
    array = np.array([*(numbers or ())], dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        return array
    return np.concatenate([array, -array[array == 0]])


def product(eqn: core.JaxprEqn, operands: Sequence[Numbers]) -> Numbers:
    """Of each pair of numbers; scale-free if one of the factors is."""
    if None in operands:
        return multiplied(eqn, operands)
    return computed(np.multiply, of_complex=True, of_integers=True)(eqn, operands)


def quotient(eqn: core.JaxprEqn, operands: Sequence[Numbers]) -> Numbers:
    """Of each pair; scale-free if a part is, but integers are not divided."""
    if not jnp.issubdtype(dtype_of(eqn.outvars[0]), jnp.inexact):
        return None
    if None not in operands:
        return computed(np.divide, of_complex=True)(eqn, operands)
    return SCALE_FREE if any(map(is_scale_free, operands)) else None


def cast(eqn: core.JaxprEqn, operands: Sequence[Numbers]) -> Numbers:
    """Each number in the new type, if that can hold it."""
    (numbers,) = operands
    if numbers is None:
        return None
    array = np.array([*numbers], dtype_of(eqn.invars[0]))
    return _in_type(array, np.dtype(eqn.params["new_dtype"]))


def _in_type(array: np.ndarray, new: np.dtype[Any]) -> Numbers:
    """An array's numbers in another type; None if that cannot hold them."""
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        array = array if jnp.issubdtype(new, jnp.complexfloating) else array.real
    if jnp.issubdtype(new, jnp.integer):
        limits = jnp.iinfo(new)
        wide = array.astype(np.float64)
        # Outside its range (or NaN) the result is up to the device.
        if not ((wide >= limits.min) & (wide < float(limits.max))).all():
            return None
    with np.errstate(all="ignore"):
        return _as_set(array.astype(new))


def positions(eqn: core.JaxprEqn, operands: Sequence[Numbers]) -> Numbers:
    """From zero up to the length of the axis."""
    del operands
    length = eqn.params["shape"][eqn.params["dimension"]]
    return frozenset(range(length)) if length <= MOST_NUMBERS else None


def exponentiated(eqn: core.JaxprEqn, operands: Sequence[Numbers]) -> Numbers:
    """Integer powers of each number."""
    exponent = eqn.params["y"]
    fold = computed(lambda x: np.power(x, x.dtype.type(exponent)))
    return fold(eqn, operands)


def dtype_of(atom: Any) -> np.dtype[Any]:
    """Type of an equation's operand or result; of a random key, not NumPy's."""
    return atom.aval.dtype


def complex_of(real: np.ndarray, imaginary: np.ndarray) -> np.ndarray:
    """Complex numbers of two parts, infinite or not."""
    result = np.zeros(real.shape, np.complex128)
    result.real, result.imag = real, imaginary
    return result


def _as_set(array: np.ndarray) -> Numbers:
    """The set of an array's numbers, with one and the same NaN."""
    found: set[Any] = set()
    if array.dtype.kind == "V":  # Such as bfloat16, which NumPy does not know.
        array = array.astype(np.float64)
    for number in np.unique(array).tolist():
        if isinstance(number, complex):
            if cmath.isnan(number):  # Of which one part may be a number.
                return None
            number = number if number.imag else number.real
        found.add(math.nan if number != number else number)
        if len(found) > MOST_NUMBERS:
            return None
    return frozenset(found)

"""What primitives make of degrees, and what they demand of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import math
from typing import TypeAlias

from jax import lax
from jax.extend import core
import jax.numpy as jnp

from swr_optax.planning.degrees._numbers import (
    ZERO,
    Numbers,
    filled_in,
    is_scale_free,
    only_number,
)
from swr_optax.planning.degrees._slices import shape_of
from swr_optax.planning.degrees._values import (
    Degree,
    Epsilon,
    Kind,
    Value,
    simplest,
)
from swr_optax.planning.degrees._walk import Walk

Rule: TypeAlias = Callable[[Walk, core.JaxprEqn, Sequence[Value]], Degree | Value]
"""The degree of an equation's results, or a value that stands for them."""

LARGEST_EPSILON = 1.001e-3
"""Numbers up to this size are numerical epsilons if a root or a division is next."""

FEWEST_DIGITS = 7
"""Of bfloat16, behind the point: what keeps fewer is no type to compute in."""

TYPICAL_VALUE = 0.01
"""For the worked number in a report of what an epsilon does."""

TRUE: Numbers = frozenset({1})
EQUALITIES = {"eq": ZERO, "ne": TRUE}
"""What they make of a number that is neither zero nor infinite, and one that is."""

ORDERS = {
    "gt": (TRUE, ZERO),
    "ge": (TRUE, ZERO),
    "lt": (ZERO, TRUE),
    "le": (ZERO, TRUE),
}
"""What they make of a positive number at the left and zero, and at the right."""


# Degree passes through, or is lost.


def keep(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """The first operand's; others are indices or options and do not affect scale."""
    del walk, eqn
    return operands[0].degree


def forget(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Zero whatever comes in, as a sign or a position has."""
    del eqn, operands
    return walk.zero


def cast(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Passes between floating-point types and is lost in integers.

    To be zero or not has no scale.
    """
    dtype = eqn.params["new_dtype"]
    if jnp.issubdtype(dtype, jnp.inexact):
        return _rounded(walk, eqn, operands[0], jnp.finfo(dtype).nmant)
    if jnp.issubdtype(dtype, jnp.bool_):
        return walk.zero
    return nonlinear(walk, eqn, operands)


def reduce_precision(
    walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]
) -> Degree:
    """Passes through, but for rounding."""
    return _rounded(walk, eqn, operands[0], eqn.params["mantissa_bits"])


def _rounded(walk: Walk, eqn: core.JaxprEqn, value: Value, digits: int) -> Degree:
    """Types of eight bits and fewer round so much that a plan must say it."""
    if digits < FEWEST_DIGITS:
        walk.require(
            value.degree,
            f"{walk.name(value)} keeps {digits} binary digits in"
            f" {eqn.primitive.name!r}: exact up to a share of about"
            f" {2.0 ** -(digits + 1):.2g} of each entry, within the type's range",
            "approximate",
        )
    return value.degree


def nonlinear(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Operands must have degree zero, and the result has."""
    return _pin(walk, eqn, operands, "which is not homogeneous", "exact")


def unknown(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """No rule: assume that its inputs must not be rescaled."""
    return _pin(walk, eqn, operands, "for which there is no rule", "unknown")


def _pin(
    walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value], why: str, kind: Kind
) -> Degree:
    for value in operands:
        walk.use_as_data(value)
        walk.require(
            value.degree,
            f"{walk.name(value)} feeds {eqn.primitive.name!r}, {why}: its scale must"
            " not change",
            kind,
        )
    return walk.zero


# Degrees add, or are multiplied by an exponent.


def product(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Degrees add."""
    return _multiply(walk, eqn, operands, +1)


def quotient(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Degrees subtract."""
    return _multiply(walk, eqn, operands, -1)


def solution(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Of a x = b: that of b less that of a, which a unit diagonal pins."""
    if eqn.params["unit_diagonal"]:
        nonlinear(walk, eqn, operands[:1])
    return _multiply(walk, eqn, operands[::-1], -1)


def _multiply(
    walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value], sign: int
) -> Degree:
    left, right = operands[:2]
    walk.multiply(left, right)
    if eqn.primitive.name in ("mul", "div"):
        _normalise(walk, left, left.degree, right, sign)
        _normalise(walk, right, sign * right.degree, left, 1)
    return left.degree + sign * right.degree


def _normalise(
    walk: Walk, value: Value, degree: Degree, other: Value, sign: int
) -> None:
    """Demands that a running statistic cancels the scale of what it measured.

    In evaluation mode a stored deviation divides the data, and any change of it
    could be made good by the shift that follows.  In training mode the measured
    deviation is there instead and cancels the data's scale, so this does too.
    """
    statistics = walk.statistics
    if (
        walk.is_data(value)
        and not walk.is_data(other)
        and other.degree[statistics].any()
    ):
        row = degree.copy()
        row[statistics] += sign * other.degree[statistics]
        names = ", ".join(walk.paths[i] for i in statistics if other.degree[i])
        words = f"{names} must follow the scale of what it measures"
        walk.require(row, words, first=True)


def power(exponent: float | str) -> Rule:
    """Degree times a fixed exponent, or times the parameter of that name."""

    def rule(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
        del walk
        factor = eqn.params[exponent] if isinstance(exponent, str) else exponent
        return factor * operands[0].degree

    return rule


def general_power(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Degree times the exponent if that is one known number."""
    base, exponent = operands
    number = only_number(exponent.numbers)
    if number is None or not math.isfinite(number):
        return nonlinear(walk, eqn, operands)
    return number * base.degree


def product_of_many(
    walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]
) -> Degree:
    """Degree times the number of factors."""
    del walk
    shape = shape_of(eqn.invars[0])
    factors = math.prod(shape[axis] for axis in eqn.params["axes"])
    return factors * operands[0].degree


# Operands must agree.


def agree(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Value:
    """Operands must have one degree, which is the result's."""
    walk.add(operands)
    return meet(walk, eqn.primitive.name, operands)


def agree_up_to_epsilon(
    walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]
) -> Value:
    """The same, but one of them may be a numerical epsilon."""
    walk.add(operands)
    small = [value for value in operands if _is_epsilon(value)]
    large = [value for value in operands if not _is_epsilon(value)]
    if len(small) != 1 or not large:
        return meet(walk, eqn.primitive.name, operands)
    name = eqn.primitive.name
    value = meet(walk, name, large)
    number = max(abs(float(n)) for n in small[0].numbers or ())
    words = (
        f"{walk.name(value)} meets the constant {number:.3g} in {name!r}: exact up to"
        f" a share of about {number:.3g} over the value, such as"
        f" {number / TYPICAL_VALUE:.3g} where the value is {TYPICAL_VALUE:g}"
    )
    return _with_epsilon(walk, name, value, small[0], words)


def _with_epsilon(
    walk: Walk, name: str, value: Value, constant: Value, words: str
) -> Value:
    """A value in which a constant may be an epsilon, of which these words tell."""
    epsilon = Epsilon(
        walk.requirement(value.degree, words, "approximate"),
        walk.requirement(value.degree, must_agree(walk, name, value, constant)),
    )
    return value._replace(epsilons=(*value.epsilons, epsilon))


def _is_epsilon(value: Value) -> bool:
    numbers = value.numbers
    return (
        numbers is not None
        and not is_scale_free(numbers)
        and all(
            not isinstance(number, complex) and abs(number) <= LARGEST_EPSILON
            for number in numbers
        )
    )


def meet(walk: Walk, name: str, operands: Sequence[Value]) -> Value:
    """One of some values that must have one degree, to stand for all of them."""
    bound = [walk.as_data(value) for value in operands if not value.scale_free]
    if not bound:
        return operands[0]._replace(degree=walk.zero)
    first = simplest(bound)
    for value in bound:
        row = first.degree - value.degree
        if row.any():
            walk.require(row, must_agree(walk, name, first, value))
    return first


def must_agree(walk: Walk, name: str, first: Value, second: Value) -> str:
    """In words that two values must have one degree, for a primitive of this name."""
    pair = f"{walk.name(first)} and {walk.name(second)} meet"
    if walk.name(first) == walk.name(second):
        pair = f"different powers of {walk.name(first)} meet"
    return f"{pair} in {name!r} and must share one scale"


def side_by_side(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Value:
    """Operands stand side by side in the result and must agree."""
    if any(walk.is_data(value) for value in operands):
        for value in operands:
            walk.use_as_data(value)
    return agree(walk, eqn, operands)


def select(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Value:
    """The cases must agree; the first operand, which has no scale, chooses.

    Where a constant stands beside a value it is a guard for most, such as the 1 of
    ``where(norm == 0, 1, norm)``, so that the value is what scales.  A guard of
    parameters whose value is divided by need not agree with them.
    """
    which, *cases = operands
    usual, guards = _without_guards(which, cases)
    found = side_by_side(walk, eqn, usual)
    varying = [walk.as_data(case) for case in usual if case.influences or case.data]
    varying = [case for case in varying if not case.scale_free]
    value = simplest(varying) if varying else found
    name = eqn.primitive.name
    for guard in guards:
        words = (
            f"{walk.name(guard)} stands for {walk.name(value)} in {name!r} where that"
            " is zero or not finite: exact elsewhere"
        )
        value = _with_epsilon(walk, name, value, guard, words)
    return value


def _without_guards(
    which: Value, cases: Sequence[Value]
) -> tuple[Sequence[Value], list[Value]]:
    """The cases that are usual, and the constants that stand for them else."""
    usual = [case for i, case in enumerate(cases) if i in (which.usual or ())]
    others = [case for case in cases if not any(case is each for each in usual)]
    if not usual or any(other.data or other.influences for other in others):
        return cases, []
    return usual, [other for other in others if not other.scale_free]


def compare(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Value:
    """Operands must agree; true, false and an angle have no scale."""
    agree(walk, eqn, operands)
    return Value(walk.zero, usual=_unless_zero(eqn, operands))


def _unless_zero(eqn: core.JaxprEqn, operands: Sequence[Value]) -> Numbers:
    """What comes out of a comparison with zero or infinity, but for these numbers.

    Data are often zero, as behind a ReLU, and parameters are not.
    """
    name = eqn.primitive.name
    if name == "ne" and eqn.invars[0] is eqn.invars[1] and _of_parameters(operands[0]):
        return ZERO  # That is how to ask for numbers that are none.
    for k, (value, other) in enumerate((operands, operands[::-1])):
        if other.scale_free and _of_parameters(value):
            if name in EQUALITIES:
                return EQUALITIES[name]
            if name in ORDERS and value.positive and other.numbers == ZERO:
                return ORDERS[name][k]
    return None


def finite(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Value:
    """No scale, whatever comes in; parameters are finite as a rule."""
    del eqn
    usual = TRUE if _of_parameters(operands[0]) else None
    return Value(walk.zero, usual=usual)


def _of_parameters(value: Value) -> bool:
    return bool(value.influences) and not value.data and not value.chosen


def update(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Value:
    """The array and what is written into it must agree; the rest are indices."""
    return side_by_side(walk, eqn, operands[:2])


def scatter(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Value:
    """The array and what is written into it must agree; between them are indices."""
    array, _, updates = operands
    if eqn.params["update_jaxpr"] is not None:  # Any function, as of `apply`.
        return array._replace(degree=unknown(walk, eqn, operands))
    return side_by_side(walk, eqn, [array, updates])


def scatter_sum(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Value:
    """The array and what is added to it must agree; between them are indices."""
    array, _, updates = operands
    return agree(walk, eqn, [array, updates])


def scatter_product(
    walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]
) -> Degree:
    """Some entries are multiplied, so the factors must not scale."""
    array, _, updates = operands
    walk.multiply(array, updates)
    nonlinear(walk, eqn, [updates])
    return array.degree


def lookup(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Value:
    """The table must agree with what stands for positions outside it."""
    table = operands[0]
    outside = eqn.params["mode"] == lax.GatherScatterMode.FILL_OR_DROP
    if not outside or eqn.params["fill_value"] is None:  # None stands for NaN.
        return table
    fill = Value(walk.zero, numbers=filled_in(eqn))
    return meet(walk, eqn.primitive.name, [table, fill])

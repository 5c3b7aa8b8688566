"""One rule for each primitive: what it makes of degrees and what it demands.

A primitive that only adds to the table's reach is one more line in
:data:`RULES`; what contains jaxprs of its own is in ``_jaxpr_walk.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
import math

from jax.extend import core
import jax.numpy as jnp
import numpy as np

from swr_optax.planning.degrees._degrees import (
    Degree,
    Kind,
    Rule,
    Value,
    Walk,
    is_neutral,
)
from swr_optax.planning.degrees._slices import shape_of

LARGEST_EPSILON = 1e-2
"""Numbers up to this size, added to a value, count as a numerical epsilon."""


def keep(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """The first operand's degree; the others say where or how, not how much."""
    del walk, eqn
    return operands[0].degree


def forget(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Degree zero whatever comes in, as a sign or a position has."""
    del eqn, operands
    return walk.zero


def product(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Degrees add."""
    return _multiply(walk, eqn, operands, +1)


def quotient(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Degrees subtract."""
    return _multiply(walk, eqn, operands, -1)


def _multiply(
    walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value], sign: int
) -> Degree:
    left, right = operands
    walk.multiplies(left, right)
    walk.multiplies(right, left)
    if eqn.primitive.name in ("mul", "div"):
        _normalise(walk, left.degree, right, left.data, sign)
        _normalise(walk, sign * right.degree, left, right.data, 1)
    return left.degree + sign * right.degree


def _normalise(walk: Walk, degree: Degree, other: Value, data: bool, sign: int) -> None:
    """Demands that a running statistic cancels the scale of what it measured.

    In evaluation mode a stored deviation divides the data, and any change of it
    could be made good by the shift that follows.  In training mode the measured
    deviation is there instead and cancels the data's scale, so this does too.
    """
    statistics = walk.statistics
    if data and not other.data and other.degree[statistics].any():
        row = degree.copy()
        row[statistics] += sign * other.degree[statistics]
        names = ", ".join(walk.paths[i] for i in statistics if other.degree[i])
        walk.require(row, f"{names} must follow the scale of what it measures")


def power(exponent: float | str) -> Rule:
    """Degree times a fixed exponent, or times the parameter of that name."""

    def rule(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
        del walk
        factor = eqn.params[exponent] if isinstance(exponent, str) else exponent
        return factor * operands[0].degree

    return rule


def product_of_many(
    walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]
) -> Degree:
    """Degree times the number of factors."""
    del walk
    shape = shape_of(eqn.invars[0])
    factors = math.prod(shape[axis] for axis in eqn.params["axes"])
    return factors * operands[0].degree


def general_power(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Degree times the exponent if that is a known number."""
    base, exponent = operands
    if exponent.constant is None:
        return nonlinear(walk, eqn, operands)
    return exponent.constant * base.degree


def agree(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Operands must have one degree, which is the result's."""
    return meet(walk, eqn.primitive.name, operands).degree


def meet(walk: Walk, name: str, operands: Sequence[Value]) -> Value:
    """One of some values that must have one degree, to stand for all of them.

    Where that cannot be, the shift follows the data to which it is added, and a
    branch the trunk of a residual network: the data of the simplest degree stand
    for all.
    """
    for value in operands:
        walk.adds(value, operands)
    bound = [value for value in operands if not is_neutral(value)]
    data = any(value.data for value in operands)
    if not bound:
        return operands[0]._replace(degree=walk.zero, data=data)
    small = [
        value
        for value in bound
        if value.constant is not None and abs(value.constant) <= LARGEST_EPSILON
    ]
    large = [value for value in bound if not any(value is other for other in small)]
    first = min(large or small, key=lambda v: (not v.data, np.count_nonzero(v.degree)))
    for value in large or small:
        pair = f"{walk.name(first)} and {walk.name(value)} meet"
        if walk.name(first) == walk.name(value):
            pair = f"different powers of {walk.name(first)} meet"
        walk.require(
            first.degree - value.degree, f"{pair} in {name!r} and must share one scale"
        )
    for value in small if large else ():
        walk.require(
            first.degree,
            f"{walk.name(first)} meets the constant {value.constant:.3g} in"
            f" {name!r}: exact up to the order of that number over the value",
            "approximate",
        )
    return first._replace(data=data)


def select(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """The cases must agree; the first operand, which has no scale, chooses."""
    return agree(walk, eqn, operands[1:])


def compare(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Operands must agree; true or false has no scale."""
    agree(walk, eqn, operands)
    return walk.zero


def update_slice(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """The array and what is written into it must agree; the rest are indices."""
    return agree(walk, eqn, operands[:2])


def ragged_product(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Degrees add; the third operand says which rows go with which matrix."""
    return product(walk, eqn, operands[:2])


def scatter(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """The array and the updates must agree; between them are indices."""
    array, _, updates = operands
    return agree(walk, eqn, [array, updates])


def lookup(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """A table's degree; looking things up by the data is a product with it."""
    del eqn
    table, indices = operands
    walk.multiplies(table, indices)
    return table.degree


def cast(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Degree passes between floating-point types, and is lost in integers."""
    if jnp.issubdtype(eqn.params["new_dtype"], jnp.inexact):
        return operands[0].degree
    return nonlinear(walk, eqn, operands)


def nonlinear(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Operands must have degree zero, and the result has."""
    return _pin(walk, eqn, operands, "which is not homogeneous", "exact")


def unknown(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """What is not in the table may do anything, so nothing that it takes scales."""
    return _pin(walk, eqn, operands, "for which there is no rule", "unknown")


def _pin(
    walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value], why: str, kind: Kind
) -> Degree:
    for value in operands:
        walk.require(
            value.degree,
            f"{walk.name(value)} feeds {eqn.primitive.name!r}, {why}: its scale must"
            " not change",
            kind,
        )
    return walk.zero


RULES: dict[str, Rule] = {
    # Degrees add or subtract.
    "mul": product,
    "dot_general": product,
    "conv_general_dilated": product,
    "ragged_dot_general": ragged_product,
    "div": quotient,
    # Degree times an exponent.
    "square": power(2),
    "sqrt": power(1 / 2),
    "rsqrt": power(-1 / 2),
    "cbrt": power(1 / 3),
    "integer_pow": power("y"),
    "pow": general_power,
    "reduce_prod": product_of_many,
    # Degree passes through.
    "abs": keep,
    "neg": keep,
    "copy": keep,
    "real": keep,
    "imag": keep,
    "conj": keep,
    "name": keep,
    "stop_gradient": keep,
    "reduce_precision": keep,
    "sharding_constraint": keep,
    "reshape": keep,
    "broadcast_in_dim": keep,
    "tile": keep,
    "transpose": keep,
    "squeeze": keep,
    "rev": keep,
    "slice": keep,
    "split": keep,
    "dynamic_slice": keep,
    "sort": keep,
    "top_k": keep,
    "approx_top_k": keep,
    "fft": keep,
    "optimization_barrier": keep,
    "device_put": keep,
    "all_gather": keep,
    "all_to_all": keep,
    "ppermute": keep,
    "pvary": keep,
    "reduce_scatter": keep,
    "psum": keep,
    "psum_invariant": keep,
    "pmax": keep,
    "pmin": keep,
    "reduce_sum": keep,
    "reduce_max": keep,
    "reduce_min": keep,
    "reduce_window_sum": keep,
    "reduce_window_max": keep,
    "reduce_window_min": keep,
    "cumsum": keep,
    "cummax": keep,
    "cummin": keep,
    "convert_element_type": cast,
    "gather": lookup,
    # Operands must agree.
    "add": agree,
    "add_any": agree,
    "sub": agree,
    "max": agree,
    "min": agree,
    "clamp": agree,
    "rem": agree,
    "complex": agree,
    "concatenate": agree,
    "pad": agree,
    "select_n": select,
    "dynamic_update_slice": update_slice,
    "scatter": scatter,
    "scatter-add": scatter,
    "scatter-max": scatter,
    "scatter-min": scatter,
    # Operands must agree, and the result has no scale.
    "eq": compare,
    "ne": compare,
    "lt": compare,
    "le": compare,
    "gt": compare,
    "ge": compare,
    "atan2": compare,
    # No scale comes out, whatever goes in.
    "sign": forget,
    "is_finite": forget,
    "argmax": forget,
    "argmin": forget,
    # Operands must not scale.
    "exp": nonlinear,
    "exp2": nonlinear,
    "expm1": nonlinear,
    "log": nonlinear,
    "log1p": nonlinear,
    "logistic": nonlinear,
    "tanh": nonlinear,
    "sin": nonlinear,
    "cos": nonlinear,
    "tan": nonlinear,
    "asin": nonlinear,
    "acos": nonlinear,
    "atan": nonlinear,
    "sinh": nonlinear,
    "cosh": nonlinear,
    "asinh": nonlinear,
    "acosh": nonlinear,
    "atanh": nonlinear,
    "lgamma": nonlinear,
    "digamma": nonlinear,
    "cumlogsumexp": nonlinear,
    "erf": nonlinear,
    "erfc": nonlinear,
    "erf_inv": nonlinear,
    "floor": nonlinear,
    "ceil": nonlinear,
    "round": nonlinear,
}
"""What each primitive does with degrees; any other one is :func:`unknown`."""

LOSSY: frozenset[Rule] = frozenset({compare, forget, nonlinear, unknown})
"""Rules after which a leaf is no longer what it was: ``exp(w)`` is no weight."""

"""Where the slices of an array are found again in what a primitive makes of it.

Layers that ``vmap`` runs side by side, or that a scan runs one after another,
keep their parameters in one array, a slice for each.  As long as every
primitive on the way works on each slice alone, the slices' scales stay apart;
the table here follows them through transposes, reshapes, batched products and
grouped convolutions.
"""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Any, NamedTuple

from jax.extend import core


class Place(NamedTuple):
    """Where the slices of an array lie.

    Attributes:
        axis: the axis along which they follow each other.
        length: how many there are.
        inner: elements of that axis from one slice to the next.  It is above one
            where a smaller axis was merged into it, as ``vmap`` does with the
            channels of a convolution; the whole run of slices is repeated along
            the axis if a larger one was.
    """

    axis: int
    length: int
    inner: int = 1


Follow = Callable[[core.JaxprEqn, int, Place], Place | None]


def follow(eqn: core.JaxprEqn, operand: int, place: Place) -> Place | None:
    """Place in an equation's results of an operand's slices.

    Args:
        eqn: an equation; all of its results have their slices in one place.
        operand: position of the operand.
        place: where the slices are in it.

    Returns:
        Where they are in the results, or None if a result mixes the slices or
        if nothing is known about the primitive.
    """
    rule = FOLLOW.get(eqn.primitive.name)
    return None if rule is None else rule(eqn, operand, place)


def shape_of(atom: Any) -> tuple[int, ...]:
    """Shape of an equation's operand or result."""
    return tuple(getattr(atom.aval, "shape", ()))


def _same(eqn: core.JaxprEqn, operand: int, place: Place) -> Place | None:
    """Each element of the result comes from that of the operand, broadcast."""
    before, after = shape_of(eqn.invars[operand]), shape_of(eqn.outvars[0])
    kept = len(before) == len(after) and before[place.axis] == after[place.axis]
    return place if kept else None


def _unless(*names: str) -> Follow:
    """As it was, unless the axis is one of those that the parameters name."""

    def rule(eqn: core.JaxprEqn, operand: int, place: Place) -> Place | None:
        rank = len(shape_of(eqn.invars[operand]))
        for name in names:
            axes = eqn.params[name]
            for axis in axes if isinstance(axes, tuple) else (axes,):
                if axis % rank == place.axis:
                    return None
        return place

    return rule


def _without(name: str) -> Follow:
    """The axes that a parameter names are no longer there."""

    def rule(eqn: core.JaxprEqn, operand: int, place: Place) -> Place | None:
        del operand
        gone = eqn.params[name]
        if place.axis in gone:
            return None
        return place._replace(axis=place.axis - sum(a < place.axis for a in gone))

    return rule


def _where_untouched(eqn: core.JaxprEqn, operand: int, place: Place) -> Place | None:
    """As it was, along an axis of which the result keeps the whole extent."""
    if operand > 0 and eqn.primitive.name in ("pad", "dynamic_slice"):
        return None
    if eqn.primitive.name == "pad" and any(eqn.params["padding_config"][place.axis]):
        return None
    return _same(eqn, operand, place)


def _windows(eqn: core.JaxprEqn, operand: int, place: Place) -> Place | None:
    """As it was, along an axis on which the windows are single elements."""
    single = eqn.params["window_dimensions"][place.axis] == 1
    return _same(eqn, operand, place) if single else None


def _broadcast(eqn: core.JaxprEqn, operand: int, place: Place) -> Place | None:
    axis = eqn.params["broadcast_dimensions"][place.axis]
    size = shape_of(eqn.invars[operand])[place.axis]
    kept = shape_of(eqn.outvars[0])[axis] == size
    return place._replace(axis=int(axis)) if kept else None


def _transpose(eqn: core.JaxprEqn, operand: int, place: Place) -> Place:
    del operand
    return place._replace(axis=tuple(eqn.params["permutation"]).index(place.axis))


def _reshape(eqn: core.JaxprEqn, operand: int, place: Place) -> Place | None:
    """The axis that holds the same stride through the elements in their order."""
    before, after = shape_of(eqn.invars[operand]), shape_of(eqn.outvars[0])
    axis = place.axis
    order = eqn.params["dimensions"]
    if order is not None:  # Transposed first.
        axis, before = tuple(order).index(axis), tuple(before[i] for i in order)
    stride = place.inner * math.prod(before[axis + 1 :])
    behind = 1
    for axis in reversed(range(len(after))):
        inner, rest = divmod(stride, behind)
        whole = inner > 0 and after[axis] % (inner * place.length) == 0
        if not rest and whole:
            return Place(axis, place.length, inner)
        behind *= after[axis]
    return None


def _dot(eqn: core.JaxprEqn, operand: int, place: Place) -> Place | None:
    """First the batch axes, then those of the left that are free, then the right's."""
    contracting, batch = eqn.params["dimension_numbers"]
    if place.axis in batch[operand]:
        return place._replace(axis=tuple(batch[operand]).index(place.axis))
    if place.axis in contracting[operand]:
        return None
    free = [
        [
            axis
            for axis in range(len(shape_of(eqn.invars[k])))
            if axis not in contracting[k] and axis not in batch[k]
        ]
        for k in (0, 1)
    ]
    before = len(batch[0]) + operand * len(free[0])
    return place._replace(axis=before + free[operand].index(place.axis))


def _convolution(eqn: core.JaxprEqn, operand: int, place: Place) -> Place | None:
    """Examples and the kernel's output features pass; groups take features along."""
    if eqn.params["batch_group_count"] > 1:
        return None
    numbers = eqn.params["dimension_numbers"]
    if operand == 1:
        kept = place.axis == numbers.rhs_spec[0]
        return place._replace(axis=numbers.out_spec[1]) if kept else None
    if place.axis == numbers.lhs_spec[0]:
        return place._replace(axis=numbers.out_spec[0])
    groups = eqn.params["feature_group_count"]
    features = shape_of(eqn.invars[0])[place.axis]
    if (
        place.axis == numbers.lhs_spec[1]
        and features == place.length * place.inner
        and groups % place.length == 0
    ):
        axis = numbers.out_spec[1]
        inner = shape_of(eqn.outvars[0])[axis] // place.length
        return Place(axis, place.length, inner)
    return None


def _gather(eqn: core.JaxprEqn, operand: int, place: Place) -> Place | None:
    """Axes that are looked up whole, or one by one as ``vmap`` does."""
    numbers = eqn.params["dimension_numbers"]
    offset = tuple(numbers.offset_dims)
    batching = (
        tuple(numbers.operand_batching_dims),
        tuple(numbers.start_indices_batching_dims),
    )
    indices = len(shape_of(eqn.invars[1])) - 1  # The last one holds an index.
    rank = len(shape_of(eqn.outvars[0]))
    looked_up = [axis for axis in range(rank) if axis not in offset]
    if operand == 0:
        if place.axis in batching[0]:
            position = batching[1][batching[0].index(place.axis)]
            return place._replace(axis=looked_up[position])
        size = shape_of(eqn.invars[0])[place.axis]
        if eqn.params["slice_sizes"][place.axis] != size:
            return None
        gone = (*numbers.collapsed_slice_dims, *batching[0])
        window = [a for a in range(len(shape_of(eqn.invars[0]))) if a not in gone]
        if place.axis not in window:
            return None
        return place._replace(axis=offset[window.index(place.axis)])
    return place._replace(axis=looked_up[place.axis]) if place.axis < indices else None


FOLLOW: dict[str, Follow] = {
    # One element of the result for one of each operand.
    **dict.fromkeys(
        [
            "abs",
            "acos",
            "acosh",
            "add",
            "add_any",
            "and",
            "asin",
            "asinh",
            "atan",
            "atan2",
            "atanh",
            "cbrt",
            "ceil",
            "clamp",
            "complex",
            "conj",
            "convert_element_type",
            "copy",
            "cos",
            "cosh",
            "div",
            "eq",
            "erf",
            "erf_inv",
            "erfc",
            "exp",
            "exp2",
            "expm1",
            "floor",
            "ge",
            "gt",
            "imag",
            "integer_pow",
            "is_finite",
            "le",
            "lgamma",
            "log",
            "log1p",
            "logistic",
            "lt",
            "max",
            "min",
            "mul",
            "name",
            "ne",
            "neg",
            "nextafter",
            "not",
            "optimization_barrier",
            "or",
            "pow",
            "real",
            "reduce_precision",
            "rem",
            "round",
            "rsqrt",
            "select_n",
            "sharding_constraint",
            "sign",
            "sin",
            "sinh",
            "sqrt",
            "square",
            "stop_gradient",
            "sub",
            "tan",
            "tanh",
            "xor",
        ],
        _same,
    ),
    # Axes come, go and change their order.
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "reshape": _reshape,
    "squeeze": _without("dimensions"),
    **dict.fromkeys(
        [
            "argmax",
            "argmin",
            "reduce_and",
            "reduce_max",
            "reduce_min",
            "reduce_or",
            "reduce_prod",
            "reduce_sum",
        ],
        _without("axes"),
    ),
    # Whole along all axes but some.
    "concatenate": _unless("dimension"),
    "rev": _unless("dimensions"),
    "sort": _unless("dimension"),
    "split": _unless("axis"),
    **dict.fromkeys(
        [
            "cumlogsumexp",
            "cummax",
            "cummin",
            "cumprod",
            "cumsum",
        ],
        _unless("axis"),
    ),
    **dict.fromkeys(["dynamic_slice", "pad", "slice"], _where_untouched),
    **dict.fromkeys(
        ["reduce_window_max", "reduce_window_min", "reduce_window_sum"], _windows
    ),
    # Sums of products.
    "dot_general": _dot,
    "conv_general_dilated": _convolution,
    "gather": _gather,
}
"""How slices pass each primitive; any other one mixes them."""

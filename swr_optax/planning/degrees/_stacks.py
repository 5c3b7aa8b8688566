"""Arrays whose slices have scales of their own: slices, together and apart."""

from __future__ import annotations

from collections.abc import Sequence

from jax.extend import core

from swr_optax.planning.degrees._numbers import only_number, union
from swr_optax.planning.degrees._primitives import Primitive
from swr_optax.planning.degrees._slices import SliceAxis, taken
from swr_optax.planning.degrees._values import (
    Known,
    Stack,
    Value,
    alike,
    influences_of,
)
from swr_optax.planning.degrees._walk import Walk


def leaf_value(walk: Walk, row: int | slice) -> Known:
    """What is known of a leaf at the start."""
    if isinstance(row, int):
        return walk.leaves[row]
    slices = tuple(walk.leaves[row])
    return Stack(slices, SliceAxis(axis=0, length=len(slices)))


def with_first_axis(leaf: Known, shape: tuple[int, ...], position: int) -> Known:
    """A leaf that may turn out to be a stack along its first axis."""
    if isinstance(leaf, Stack) or not shape:
        return leaf
    return leaf._replace(axes=((SliceAxis(0, shape[0]), position),))


def whole(walk: Walk, known: Known, use: str = "used together") -> Value:
    """One value for all slices, whose scales must agree for that."""
    if isinstance(known, Value):
        return known
    bound = [value for value in known.slices if not value.scale_free]
    first = (bound or known.slices)[0]
    for value in bound[1:]:
        walk.require(
            value.degree - first.degree,
            f"{walk.name(first)} and {walk.name(value)} are {use} and must share one"
            " scale",
        )
    return all_in_one(walk, first, known.slices)


def axis_of_results(
    eqn: core.JaxprEqn, primitive: Primitive, operands: Sequence[Known]
) -> SliceAxis | None:
    """Where the results keep an operand's slices apart, if they do."""
    for k, known in enumerate(operands):
        if isinstance(known, Stack):
            found = primitive.follow(eqn, k, known.along)
            if found is not None:
                return found
    return None


def parts_of(eqn: core.JaxprEqn, operands: Sequence[Known]) -> list[Known] | None:
    """The results, where an equation takes slices apart."""
    stack = operands[0] if operands else None
    if not isinstance(stack, Stack):
        return None
    starts = [
        only_number(known.numbers) if isinstance(known, Value) else None
        for known in operands[1:]
    ]
    ranges = taken(eqn, stack.along, starts)
    if ranges is None:
        return None
    return [
        stack.slices[indices[0]]
        if len(indices) == 1
        else Stack(
            tuple(stack.slices[i] for i in indices),
            SliceAxis(stack.along.axis, len(indices)),
        )
        for indices in ranges
    ]


def all_in_one(walk: Walk, first: Value, values: Sequence[Value]) -> Value:
    """The value of an array that holds several, of the first one's degree."""
    for value in values:
        walk.settled(value)
    data = any(walk.is_data(value) for value in values)
    leaves = frozenset[int]().union(*(value.leaves for value in values))
    chosen = frozenset[int]().union(*(value.chosen for value in values))
    return first._replace(
        data=data,
        leaves=frozenset() if data else leaves,
        chosen=frozenset() if data else chosen,
        layer=max(value.layer for value in values),
        numbers=union([value.numbers for value in values]),
        influences=influences_of(values),
        epsilons=(),
        axes=(),
    )


def taken_apart(walk: Walk, known: Known, length: int) -> Sequence[Known]:
    """The parts of an array that a scan takes apart along its first axis."""
    if isinstance(known, Value):
        return [_with_axes_moved(known, -1)] * length
    if known.along == SliceAxis(0, length):
        return known.slices
    if known.along.axis == 0:
        return [whole(walk, known)] * length
    inside = known.along._replace(axis=known.along.axis - 1)
    return [known._replace(along=inside)] * length


def put_together(walk: Walk, parts: Sequence[Known]) -> Known:
    """The array that a scan makes of the parts, along a new first axis."""
    first = parts[0]
    if isinstance(first, Stack) and all(alike(part, first) for part in parts):
        return first._replace(along=first.along._replace(axis=first.along.axis + 1))
    values = tuple(whole(walk, part) for part in parts)
    walk.add(values)
    # A state that starts as zero has no scale of its own in its first slice.
    bound = [value for value in values if not value.scale_free] or list(values)
    if all((value.degree == bound[0].degree).all() for value in bound):
        together = all_in_one(walk, bound[0], values)
        return together._replace(axes=_with_axes_moved(bound[0], 1).axes)
    return Stack(values, SliceAxis(0, len(values)))


def _with_axes_moved(value: Value, by: int) -> Value:
    """Without the first axis, or with one in front."""
    if not value.axes:
        return value
    moved = tuple(
        (along._replace(axis=along.axis + by), leaf)
        for along, leaf in value.axes
        if along.axis + by >= 0
    )
    return value._replace(axes=moved)

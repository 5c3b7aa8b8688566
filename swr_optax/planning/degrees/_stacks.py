"""Arrays whose slices have scales of their own: slices, together and apart."""

from __future__ import annotations

from collections.abc import Sequence

from jax.extend import core

from swr_optax.planning.degrees._numbers import only_number, union
from swr_optax.planning.degrees._places import moved, places_of
from swr_optax.planning.degrees._primitives import Primitive
from swr_optax.planning.degrees._slices import SliceAxis, taken
from swr_optax.planning.degrees._values import (
    Known,
    Place,
    Stack,
    Value,
    alike,
    influences_of,
)
from swr_optax.planning.degrees._walk import Walk


def leaf_value(walk: Walk, row: int | slice, shape: tuple[int, ...] = ()) -> Known:
    """What is known of a leaf, whose axes may be followed, at the start."""
    if isinstance(row, int):
        return walk.leaves[row]._replace(places=places_of(row, shape))
    slices = tuple(
        value._replace(places=places_of(leaf, shape[1:], behind=1))
        for leaf, value in zip(
            range(len(walk.leaves))[row], walk.leaves[row], strict=True
        )
    )
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
    gone = eqn.primitive.name == "unstack"
    return [
        _without_axis(stack.slices[indices[0]], stack.along.axis, gone)
        if len(indices) == 1
        else Stack(
            tuple(stack.slices[i] for i in indices),
            SliceAxis(stack.along.axis, len(indices)),
        )
        for indices in ranges
    ]


def _without_axis(value: Value, axis: int, gone: bool) -> Value:
    """A slice whose axes behind the one of the slices move up if that is gone."""
    if not gone:
        return value
    places = tuple(
        place._replace(along=place.along._replace(axis=place.along.axis - 1))
        if place.along.axis > axis
        else place
        for place in value.places
    )
    return value._replace(places=places)


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
        usual=None,
        positive=all(value.positive for value in values),
        influences=influences_of(values),
        epsilons=(),
        axes=(),
        places=() if data else _united(values),
    )


def _united(values: Sequence[Value]) -> tuple[Place, ...]:
    """All places of some values, each once."""
    return tuple(dict.fromkeys(place for value in values for place in value.places))


def taken_apart(walk: Walk, known: Known, length: int) -> Sequence[Known]:
    """The parts of an array that a scan takes apart along its first axis."""
    if isinstance(known, Value):
        return [_with_axes_moved(known, -1)] * length
    if known.along == SliceAxis(0, length):
        return [_with_axes_moved(value, -1) for value in known.slices]
    if known.along.axis == 0:
        return [_with_axes_moved(whole(walk, known), -1)] * length
    return [_with_stack_moved(known, -1)] * length


def put_together(walk: Walk, parts: Sequence[Known]) -> Known:
    """The array that a scan makes of the parts, along a new first axis."""
    first = parts[0]
    if isinstance(first, Stack) and all(alike(part, first) for part in parts):
        return _with_stack_moved(first, 1)
    values = tuple(whole(walk, part) for part in parts)
    walk.add(values)
    # A state that starts as zero has no scale of its own in its first slice.
    bound = [value for value in values if not value.scale_free] or list(values)
    if all((value.degree == bound[0].degree).all() for value in bound):
        together = all_in_one(walk, bound[0], values)
        return together._replace(
            axes=_with_axes_moved(bound[0], 1).axes, places=moved(together, 1)
        )
    return Stack(
        tuple(_with_axes_moved(value, 1) for value in values),
        SliceAxis(0, len(values)),
    )


def _with_stack_moved(stack: Stack, by: int) -> Stack:
    """Slices of an array without its first axis, or with one in front."""
    along = stack.along._replace(axis=stack.along.axis + by)
    return Stack(tuple(_with_axes_moved(v, by) for v in stack.slices), along)


def _with_axes_moved(value: Value, by: int) -> Value:
    """Without the first axis, or with one in front."""
    if not (value.axes or value.places):
        return value
    axes = tuple(
        (along._replace(axis=along.axis + by), leaf)
        for along, leaf in value.axes
        if along.axis + by >= 0
    )
    return value._replace(axes=axes, places=moved(value, by))

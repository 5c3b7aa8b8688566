"""Where the slices of units are, forwards and backwards through an equation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import itertools
from typing import NamedTuple

from jax.extend import core
import numpy as np

from swr_optax.planning.degrees import (
    PRIMITIVES,
    UNKNOWN,
    SliceAxis,
    shape_of,
    without_axes,
)

ACROSS = frozenset(["psum", "pmax", "pmin"])
"""Reductions over mapped axes, which a batched axis of the array may have become."""


class Spot(NamedTuple):
    """Where one slice for each of some units lies in an array.

    Attributes:
        along: the axis, how many units there are, and the entries from one to the
            next.
        start: where on the axis they begin.
        stop: where they end.
    """

    along: SliceAxis
    start: int
    stop: int


class Mixed(Exception):
    """An equation does more with the units than keep their slices apart."""


class Parted(Mixed):
    """An equation takes some of the units and leaves the rest.

    Args:
        first: the first unit that it takes.
        last: the one behind the last.
    """

    def __init__(self, first: int, last: int) -> None:
        self.first = first
        self.last = last


def whole_axis(axis: int, size: int) -> Spot:
    """A unit for each entry of an axis."""
    return Spot(SliceAxis(axis, size), 0, size)


def covering(along: SliceAxis, shape: Sequence[int]) -> Spot:
    """The slices as all that there is along their axis of an array."""
    return Spot(along, 0, shape[along.axis])


def moved(spot: Spot, by: int) -> Spot:
    """The same slices where the axis has another number.

    Raises:
        Mixed: if it has none.
    """
    axis = spot.along.axis + by
    if axis < 0:
        raise Mixed
    return spot._replace(along=spot.along._replace(axis=axis))


def after(eqn: core.JaxprEqn, operand: int, spot: Spot) -> list[Spot | None]:
    """Where the slices are in each result; None where none of them is.

    Raises:
        Mixed: if a result holds something else of them.
    """
    shape = shape_of(eqn.invars[operand])
    axis, name = spot.along.axis, eqn.primitive.name
    if name == "concatenate" and eqn.params["dimension"] == axis:
        sizes = [shape_of(atom)[axis] for atom in eqn.invars]
        return [_shifted(spot, sum(sizes[:operand]))]
    if name == "split" and eqn.params["axis"] == axis:
        ends = itertools.accumulate(map(int, eqn.params["sizes"]), initial=0)
        return [_cut(spot, *ends_) for ends_ in itertools.pairwise(ends)]
    if name == "slice" and shape_of(eqn.outvars[0])[axis] != shape[axis]:
        start, stop = (
            eqn.params["start_indices"][axis],
            eqn.params["limit_indices"][axis],
        )
        if (eqn.params["strides"] or [1] * len(shape))[axis] != 1:
            raise Mixed
        return [_cut(spot, start, stop)]
    if name == "pad" and operand == 0 and any(eqn.params["padding_config"][axis]):
        low, high, interior = map(int, eqn.params["padding_config"][axis])
        if min(low, high) < 0 or interior:
            raise Mixed
        return [_shifted(spot, low)]
    if name in ACROSS and len(eqn.invars) == 1:  # Axes of the array have numbers.
        follow = without_axes("axes")
    else:
        follow = PRIMITIVES.get(name, UNKNOWN).follow
    if spot == covering(spot.along, shape):
        along = follow(eqn, operand, spot.along)
        if along is None:
            raise Mixed
        return [covering(along, shape_of(var)) for var in eqn.outvars]
    along = follow(eqn, operand, SliceAxis(axis, shape[axis]))
    if along is None:
        raise Mixed
    inner = along.inner
    if any(_size(var, along.axis) != shape[axis] * inner for var in eqn.outvars):
        raise Mixed  # They are there several times.
    moved = SliceAxis(along.axis, spot.along.length, spot.along.inner * inner)
    return [Spot(moved, spot.start * inner, spot.stop * inner)] * len(eqn.outvars)


def before(eqn: core.JaxprEqn, result: int, spot: Spot) -> dict[int, Spot]:
    """Where slices that are in a result are in the operands that hold them."""
    found = {}
    for operand, atom in enumerate(eqn.invars):
        shape = shape_of(atom)
        for candidate in _candidates(eqn, operand, result, shape, spot):
            try:
                reached = after(eqn, operand, candidate)
            except Mixed:
                continue
            if reached[result] == spot:
                found[operand] = candidate
                break
    return found


def _candidates(
    eqn: core.JaxprEqn, operand: int, result: int, shape: tuple[int, ...], spot: Spot
) -> Iterator[Spot]:
    """Spots in an operand that may be where a result's slices come from."""
    axis, name = spot.along.axis, eqn.primitive.name
    length = spot.along.length
    shift = 0
    if name == "concatenate" and eqn.params["dimension"] == axis:
        shift = -sum(shape_of(atom)[axis] for atom in eqn.invars[:operand])
    elif name == "split" and eqn.params["axis"] == axis:
        shift = sum(map(int, eqn.params["sizes"][:result]))
    elif name == "slice":
        shift = int(eqn.params["start_indices"][axis])
    elif name == "pad":
        shift = -int(eqn.params["padding_config"][axis][0])
    if (
        axis < len(shape)
        and spot.start + shift >= 0
        and spot.stop + shift <= shape[axis]
    ):
        yield _shifted(spot, shift)
    for axis, size in enumerate(shape):
        for inner in range(1, size // length + 1):
            if size % (length * inner) == 0:
                yield Spot(SliceAxis(axis, length, inner), 0, size)
    # A window on an axis that went, as a whole, to another place.
    for axis, size in enumerate(shape):
        try:
            (there, *_) = after(eqn, operand, whole_axis(axis, size))
        except Mixed:
            continue
        scale = there.along.inner if there is not None else 0
        if scale and there is not None and there.along.axis == spot.along.axis:
            numbers = (spot.along.inner, spot.start, spot.stop)
            if not any(number % scale for number in numbers):
                inner, start, stop = (number // scale for number in numbers)
                if stop <= size:
                    yield Spot(SliceAxis(axis, length, inner), start, stop)


def partner(eqn: core.JaxprEqn, operand: int, spot: Spot) -> tuple[int, Spot] | None:
    """The other operand with which a product sums over the units, and where."""
    axis = spot.along.axis
    if eqn.primitive.name == "dot_general":
        contracting, _ = eqn.params["dimension_numbers"]
        if axis in contracting[operand]:
            other = contracting[1 - operand][tuple(contracting[operand]).index(axis)]
            return 1 - operand, spot._replace(
                along=spot.along._replace(axis=int(other))
            )
    if eqn.primitive.name == "conv_general_dilated" and operand < 2:
        numbers = eqn.params["dimension_numbers"]
        features = numbers.lhs_spec[1], numbers.rhs_spec[1]
        if axis != features[operand]:
            return None
        other = int(features[1 - operand])
        along = spot.along._replace(axis=other)
        groups = eqn.params["feature_group_count"]
        if groups == 1:
            return 1 - operand, spot._replace(along=along)
        # Each group sums over its own features with the same part of the kernel.
        shapes = [shape_of(atom) for atom in eqn.invars]
        if in_every_group(spot, shapes[operand], 1 if operand else groups):
            return 1 - operand, covering(along, shapes[1 - operand])
    return None


def in_every_group(spot: Spot, shape: Sequence[int], groups: int) -> bool:
    """Whether each of so many groups of an axis holds all units in the same way."""
    axis, length, inner = spot.along
    whole = spot == covering(spot.along, shape)
    return whole and shape[axis] // groups % (length * inner) == 0


def constant_along(value: np.ndarray, spot: Spot) -> bool:
    """Whether an array holds the same for each unit."""
    (axis, length, inner), start, stop = spot
    part = np.moveaxis(value, axis, 0)[start:stop]
    slices = part.reshape(-1, length, inner, *part.shape[1:])
    return bool((slices == slices[:, :1]).all())


def _shifted(spot: Spot, by: int) -> Spot:
    return spot._replace(start=spot.start + by, stop=spot.stop + by)


def _cut(spot: Spot, start: int, stop: int) -> Spot | None:
    """Where the slices are in a part of the axis."""
    if spot.stop <= start or stop <= spot.start:
        return None
    if spot.start < start or stop < spot.stop:
        (_, length, inner), begin, end = spot
        if end - begin > length * inner:  # They are there several times.
            raise Mixed
        first, last = max(start, begin) - begin, min(stop, end) - begin
        raise Parted(first // inner, last // inner)
    return _shifted(spot, -start)


def parts(spot: Spot, cut: Parted) -> list[Spot]:
    """The units in front of those that were taken, these, and those behind them.

    Without what is one unit alone, which has no order.
    """
    (axis, length, inner), start, _ = spot
    ends = sorted({0, cut.first, cut.last, length})
    return [
        Spot(SliceAxis(axis, b - a, inner), start + a * inner, start + b * inner)
        for a, b in itertools.pairwise(ends)
        if b - a > 1
    ]


def _size(var: core.Var, axis: int) -> int:
    return shape_of(var)[axis]

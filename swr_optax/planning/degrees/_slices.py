"""Where the slices of an array are found again in what a primitive makes of it.

Layers that ``vmap`` runs side by side, or that a loop runs one after another,
keep their parameters in one array, a slice for each.  As long as every
primitive on the way works on each slice alone, the slices' scales stay apart.
The functions here follow them through transposes, reshapes, batched products
and grouped convolutions; the table of primitives names one for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import itertools
import math
from typing import Any, NamedTuple

from jax.extend import core


class SliceAxis(NamedTuple):
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


Follow = Callable[[core.JaxprEqn, int, SliceAxis], SliceAxis | None]
"""From an equation, an operand's position and where the slices are in it to
where they are in all of the results; None if a result mixes the slices."""


def shape_of(atom: Any) -> tuple[int, ...]:
    """Shape of an equation's operand or result."""
    return tuple(getattr(atom.aval, "shape", ()))


def mixed(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> None:
    """Slices are not followed: a result may mix them."""
    del eqn, operand, along


def elementwise(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis | None:
    """Each element of the result comes from that of the operand, broadcast."""
    before, after = shape_of(eqn.invars[operand]), shape_of(eqn.outvars[0])
    kept = len(before) == len(after) and before[along.axis] == after[along.axis]
    return along if kept else None


def unless_along(*names: str) -> Follow:
    """As it was, unless the axis is one of those that the parameters name."""

    def rule(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis | None:
        rank = len(shape_of(eqn.invars[operand]))
        for name in names:
            axes = eqn.params[name]
            for axis in axes if isinstance(axes, tuple) else (axes,):
                if axis % rank == along.axis:
                    return None
        return along

    return rule


def without_axes(name: str) -> Follow:
    """The axes that a parameter names are no longer there."""

    def rule(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis | None:
        del operand
        gone = eqn.params[name]
        if along.axis in gone:
            return None
        return along._replace(axis=along.axis - sum(a < along.axis for a in gone))

    return rule


def where_whole(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis | None:
    """As it was, along an axis of which the result keeps the whole extent."""
    if operand > 0 and eqn.primitive.name in ("pad", "dynamic_slice"):
        return None
    if eqn.primitive.name == "pad" and any(eqn.params["padding_config"][along.axis]):
        return None
    return elementwise(eqn, operand, along)


def stacked(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis:
    """There is a new axis."""
    del operand
    return along._replace(axis=along.axis + (eqn.params["axis"] <= along.axis))


def unstacked(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis | None:
    """One axis is gone."""
    del operand
    gone = eqn.params["axis"]
    if along.axis == gone:
        return None
    return along._replace(axis=along.axis - (gone < along.axis))


def windowed(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis | None:
    """As it was, along an axis on which the windows are single elements."""
    single = eqn.params["window_dimensions"][along.axis] == 1
    return elementwise(eqn, operand, along) if single else None


def broadcast(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis | None:
    axis = eqn.params["broadcast_dimensions"][along.axis]
    size = shape_of(eqn.invars[operand])[along.axis]
    kept = shape_of(eqn.outvars[0])[axis] == size
    return along._replace(axis=int(axis)) if kept else None


def transposed(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis:
    del operand
    return along._replace(axis=tuple(eqn.params["permutation"]).index(along.axis))


def reshaped(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis | None:
    """The axis that holds the same stride through the elements in their order."""
    before, after = shape_of(eqn.invars[operand]), shape_of(eqn.outvars[0])
    axis = along.axis
    order = eqn.params["dimensions"]
    if order is not None:  # Transposed first.
        axis, before = tuple(order).index(axis), tuple(before[i] for i in order)
    stride = along.inner * math.prod(before[axis + 1 :])
    behind = 1
    for axis in reversed(range(len(after))):
        inner, rest = divmod(stride, behind)
        whole = inner > 0 and after[axis] % (inner * along.length) == 0
        if not rest and whole:
            return SliceAxis(axis, along.length, inner)
        behind *= after[axis]
    return None


def contracted(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis | None:
    """First the batch axes, then those of the left that are free, then the right's."""
    contracting, batch = eqn.params["dimension_numbers"]
    if along.axis in batch[operand]:
        return along._replace(axis=tuple(batch[operand]).index(along.axis))
    if along.axis in contracting[operand]:
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
    return along._replace(axis=before + free[operand].index(along.axis))


def convolved(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis | None:
    """Examples and the kernel's output features pass; groups take features along."""
    if eqn.params["batch_group_count"] > 1:
        return None
    numbers = eqn.params["dimension_numbers"]
    if operand == 1:
        kept = along.axis == numbers.rhs_spec[0]
        return along._replace(axis=numbers.out_spec[1]) if kept else None
    if along.axis == numbers.lhs_spec[0]:
        return along._replace(axis=numbers.out_spec[0])
    groups = eqn.params["feature_group_count"]
    features = shape_of(eqn.invars[0])[along.axis]
    slices = features // along.inner  # As often as they are there.
    if along.axis == numbers.lhs_spec[1] and groups % slices == 0:
        axis = numbers.out_spec[1]
        return SliceAxis(axis, along.length, shape_of(eqn.outvars[0])[axis] // slices)
    return None


def gathered(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis | None:
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
        if along.axis in batching[0]:
            position = batching[1][batching[0].index(along.axis)]
            return along._replace(axis=looked_up[position])
        size = shape_of(eqn.invars[0])[along.axis]
        if eqn.params["slice_sizes"][along.axis] != size:
            return None
        gone = (*numbers.collapsed_slice_dims, *batching[0])
        window = [a for a in range(len(shape_of(eqn.invars[0]))) if a not in gone]
        if along.axis not in window:
            return None
        return along._replace(axis=offset[window.index(along.axis)])
    return along._replace(axis=looked_up[along.axis]) if along.axis < indices else None


def scattered(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis | None:
    """Axes that are written whole, or one by one as ``vmap`` does."""
    array, _, updates = map(shape_of, eqn.invars)
    numbers = eqn.params["dimension_numbers"]
    one_by_one = dict(
        zip(
            map(int, numbers.operand_batching_dims),
            map(int, numbers.scatter_indices_batching_dims),
            strict=True,
        )
    )
    gone = (*numbers.inserted_window_dims, *one_by_one)
    window = dict(
        zip(
            (axis for axis in range(len(array)) if axis not in gone),
            map(int, numbers.update_window_dims),
            strict=True,
        )
    )
    # From the array's axes to those of indices and updates; here the way back.
    axis: int | None = along.axis
    if operand == 2 and axis in window.values():
        axis = _backwards(window)[along.axis]
    elif operand > 0:
        chosen = [a for a in range(len(updates)) if a not in window.values()]
        position = along.axis if operand == 1 else chosen.index(along.axis)
        axis = _backwards(one_by_one).get(position)
    if axis is None:
        return None
    whole = axis in window and updates[window[axis]] == array[axis]
    return along._replace(axis=axis) if whole or axis in one_by_one else None


def _backwards(numbers: dict[int, int]) -> dict[int, int]:
    return {there: here for here, there in numbers.items()}


def updated(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis | None:
    """As it was, along an axis of which the whole extent is written."""
    array, update, *_ = map(shape_of, eqn.invars)
    del operand
    return along if array[along.axis] == update[along.axis] else None


def transformed(eqn: core.JaxprEqn, operand: int, along: SliceAxis) -> SliceAxis | None:
    """As it was, unless the axis is one of the last, which become frequencies."""
    del operand
    kept = len(shape_of(eqn.invars[0])) - len(eqn.params["fft_lengths"])
    return along if along.axis < kept else None


def taken(
    eqn: core.JaxprEqn, along: SliceAxis, starts: Sequence[float | None] = ()
) -> list[range] | None:
    """Which slices each result holds, where an equation takes them apart.

    Args:
        eqn: the equation.
        along: where the slices are in its first operand.
        starts: its other operands, as far as they are known numbers.
    """
    shape = shape_of(eqn.invars[0])
    if not shape or along != SliceAxis(along.axis, shape[along.axis]):
        return None
    axis, length, params = along.axis, along.length, eqn.params
    match eqn.primitive.name:
        case "slice":
            strides = params["strides"] or [1] * len(shape)
            bounds = params["start_indices"][axis], params["limit_indices"][axis]
            return [range(*bounds, strides[axis])]
        case "dynamic_slice":
            start, size = starts[axis], params["slice_sizes"][axis]
            if start is None:
                return None
            first = min(max(int(start), 0), length - size)
            return [range(first, first + size)]
        case "split" if params["axis"] == axis:
            ends = itertools.accumulate(map(int, params["sizes"]), initial=0)
            return [range(*bounds) for bounds in itertools.pairwise(ends)]
        case "unstack" if params["axis"] == axis:
            return [range(i, i + 1) for i in range(length)]
    return None

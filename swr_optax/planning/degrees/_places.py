"""Which axes of a leaf are a layer's inputs and which its outputs.

A leaf's axes are followed, as long as only parameters are in an array, to where
the leaf meets the data: an axis that is summed over with the data there is one of
inputs, and one that is still there afterwards is one of outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import NamedTuple

from jax.extend import core

from swr_optax.planning.degrees._slices import Follow, SliceAxis, shape_of
from swr_optax.planning.degrees._values import Place, Value


class LayerAxes(NamedTuple):
    """Axes of a leaf; empty where they cannot be followed.

    Attributes:
        inputs: those over which it is summed with the data.
        outputs: those that index the layer's outputs.
    """

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


def places_of(leaf: int, shape: Sequence[int], behind: int = 0) -> tuple[Place, ...]:
    """The axes of a leaf where it starts, behind so many others."""
    return tuple(
        Place(leaf, axis, SliceAxis(axis + behind, size))
        for axis, size in enumerate(shape)
    )


def places_of_results(
    eqn: core.JaxprEqn, follow: Follow, operands: Sequence[tuple[int, Value]]
) -> tuple[Place, ...]:
    """Where the axes are in an equation's results, as they are in the first of them.

    Args:
        eqn: the equation.
        follow: what its primitive does with slices.
        operands: position and value of those that go into the results.
    """
    found: dict[Place, None] = {}
    for k, value in operands:
        for place in value.places:
            for along in _followed(eqn, follow, k, place.along):
                found[place._replace(along=along)] = None
    return tuple(found)


def _followed(
    eqn: core.JaxprEqn, follow: Follow, operand: int, along: SliceAxis
) -> list[SliceAxis]:
    """Where an axis is afterwards, whether or not its slices stay apart."""
    if eqn.primitive.name == "reshape" and along.length == 1:
        return _of_length_one(eqn, along)
    after = follow(eqn, operand, along)
    if after is not None:
        return [after]
    if eqn.primitive.name == "reshape":
        return _split(eqn, along)
    shape = shape_of(eqn.invars[operand])
    longer_or_shorter = eqn.primitive.name in ("concatenate", "pad", "slice", "split")
    if longer_or_shorter and shape:
        whole = along == SliceAxis(along.axis, shape[along.axis])
        size = shape_of(eqn.outvars[0])[along.axis]
        return [SliceAxis(along.axis, size)] if whole else []
    return []


def places_in(
    eqn: core.JaxprEqn, result: int, places: Sequence[Place]
) -> tuple[Place, ...]:
    """Where axes are in one result, of those of a split, which differ in length."""
    axis, shapes = eqn.params["axis"], [shape_of(var) for var in eqn.outvars]
    first, here = (SliceAxis(axis, shapes[k][axis]) for k in (0, result))
    return tuple(
        place._replace(along=here) if place.along == first else place
        for place in places
    )


def _of_length_one(eqn: core.JaxprEqn, along: SliceAxis) -> list[SliceAxis]:
    """An axis of one entry is where all on one side of it are as they were.

    Else it is in the axis that its neighbours were merged into, if they were.
    """
    before, after = shape_of(eqn.invars[0]), shape_of(eqn.outvars[0])
    behind = len(before) - along.axis
    if eqn.params["dimensions"] is not None:
        return []
    if after[: along.axis + 1] == before[: along.axis + 1]:
        return [along]
    if len(after) >= behind and after[-behind:] == before[along.axis :]:
        return [along._replace(axis=len(after) - behind)]
    stride = math.prod(before[along.axis + 1 :])
    neighbours = [
        size
        for axis, size in enumerate(before)
        if size > 1 and math.prod(before[axis + 1 :]) == stride
    ]
    for axis, size in enumerate(after):
        inside = math.prod(after[axis + 1 :]) <= stride < math.prod(after[axis:])
        if inside and neighbours and size > neighbours[0]:
            return [SliceAxis(axis, size)]
    return []


def _split(eqn: core.JaxprEqn, along: SliceAxis) -> list[SliceAxis]:
    """The parts of an axis that a reshape takes apart."""
    if eqn.params["dimensions"] is not None:
        return []
    before, after = shape_of(eqn.invars[0]), shape_of(eqn.outvars[0])
    stride = along.inner * math.prod(before[along.axis + 1 :])
    end = stride * along.length
    parts = []
    behind = 1
    for axis in reversed(range(len(after))):
        if after[axis] > 1 and stride <= behind and behind * after[axis] <= end:
            parts.append(SliceAxis(axis, after[axis]))
        behind *= after[axis]
    return parts if math.prod(part.length for part in parts) == along.length else []


def moved(value: Value, by: int) -> tuple[Place, ...]:
    """The places without the first axis, or with one in front."""
    return tuple(
        place._replace(along=place.along._replace(axis=place.along.axis + by))
        for place in value.places
        if place.along.axis + by >= 0
    )


def axes_in_product(
    eqn: core.JaxprEqn | None, operand: int, value: Value, leaf: int
) -> LayerAxes:
    """Axes of a leaf in an operand that is multiplied by the data."""
    name = eqn.primitive.name if eqn is not None else ""
    if eqn is not None and name == "dot_general":
        contracting, _ = eqn.params["dimension_numbers"]
        return _axes(value, leaf, contracting[operand])
    if eqn is not None and name == "conv_general_dilated" and operand == 1:
        _, *inputs = eqn.params["dimension_numbers"].rhs_spec
        return _axes(value, leaf, inputs)
    return axes_in_sum(eqn, value, leaf) if name in ("mul", "div") else LayerAxes()


def axes_in_sum(eqn: core.JaxprEqn | None, value: Value, leaf: int) -> LayerAxes:
    """Axes of a leaf in an operand that meets the data entry by entry.

    An axis of one entry that meets a longer one tells outputs not apart.
    """
    result = shape_of(eqn.outvars[0]) if eqn is not None and eqn.outvars else ()
    places = tuple(
        place
        for place in value.places
        if place.along.length > 1 or result[place.along.axis :][:1] in ((), (1,))
    )
    return _axes(value._replace(places=places), leaf, ())


def axes_in_choice(
    before: Sequence[Place], after: Sequence[Place]
) -> dict[int, LayerAxes]:
    """Axes of the leaves among whose entries the data choose.

    Args:
        before: places in the table.
        after: places in what was chosen from it.
    """
    kept = {(place.leaf, place.axis) for place in after}
    axes: dict[int, LayerAxes] = {}
    for leaf in sorted({place.leaf for place in before}):
        mine = sorted({place.axis for place in before if place.leaf == leaf})
        axes[leaf] = LayerAxes(
            inputs=tuple(axis for axis in mine if (leaf, axis) not in kept),
            outputs=tuple(axis for axis in mine if (leaf, axis) in kept),
        )
    return axes


def _axes(value: Value, leaf: int, summed: Sequence[int]) -> LayerAxes:
    """Axes of a leaf by whether the axes where they are now are summed over.

    An axis of which one part is summed over and another one is not is neither.
    """
    sides: dict[int, set[bool]] = {}
    for place in value.places:
        if place.leaf == leaf:
            sides.setdefault(place.axis, set()).add(place.along.axis in summed)
    return LayerAxes(
        inputs=tuple(axis for axis, side in sorted(sides.items()) if side == {True}),
        outputs=tuple(axis for axis, side in sorted(sides.items()) if side == {False}),
    )

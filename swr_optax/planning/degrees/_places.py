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
    """Where the axes are in an equation's results.

    Args:
        eqn: the equation.
        follow: what its primitive does with slices.
        operands: position and value of those that go into the results.
    """
    found: dict[Place, None] = {}
    for k, value in operands:
        for place in value.places:
            after = follow(eqn, k, place.along)
            if after is not None:
                found[place._replace(along=after)] = None
            elif eqn.primitive.name == "reshape":
                for part in _split(eqn, place.along):
                    found[place._replace(along=part)] = None
    return tuple(found)


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
    return axes_in_sum(value, leaf) if name in ("mul", "div") else LayerAxes()


def axes_in_sum(value: Value, leaf: int) -> LayerAxes:
    """Axes of a leaf in an operand that meets the data entry by entry."""
    return _axes(value, leaf, ())


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

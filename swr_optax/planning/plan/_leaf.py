"""One leaf of a network's variables, as a plan knows it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from swr_optax.planning.degrees import Role

Place: TypeAlias = int | slice | None
"""Where a plan has an array: its row, its slices' rows, or None if masked out."""


def rows_of(place: Place) -> range:
    """The rows of the plan that an array has."""
    if place is None:
        return range(0)
    if isinstance(place, slice):
        return range(place.start, place.stop)
    return range(place, place + 1)


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One leaf of the parameters or of the running statistics.

    Of a leaf that stacks the parameters of several layers, each slice along the
    first axis is a leaf of its own.

    Attributes:
        path: its name, such as ``Dense_0/bias``.
        shape: its shape; that of a slice for a slice.
        role: ``"weight"`` if it ever multiplies the data, ``"shift"`` if it only
            adds to them or else follows a weight, ``"statistic"`` if it is a
            running statistic, ``"frozen"`` if the plan was told to leave it
            alone, and ``"unused"`` if the network does none of this with it.
        group: of the layer that it belongs to.
        index: position of the slice, if it is one.
        layer: position in the plan's ``weights`` of the layer that it belongs to:
            its own for a weight, and for any other leaf that of the weight that
            last acted on the data that it meets; -1 if it comes before all.
        input_axes: the axes of a weight over which it is summed with the data:
            ``(0,)`` of a dense kernel (in, out), ``(0, 1, 2)`` of a convolution's
            (height, width, in, out), and ``(0,)`` of a table of embeddings that
            the data look up.  None of a weight that multiplies entry by entry, as
            a normalisation's scale does, and none of what is no weight.
        output_axes: the axes of a weight or shift that index what its layer puts
            out: ``(1,)`` and ``(3,)`` of these kernels, ``(0,)`` of a bias.

    Axes are found by how the leaf first meets the data, whatever its layout, and
    are those of a slice for a slice.  Where they cannot be followed there are none.
    A product that is written as a multiplication and a sum behind it counts as one
    entry by entry.
    """

    path: str
    shape: tuple[int, ...]
    role: Role
    group: str
    index: int | None = None
    layer: int = -1
    input_axes: tuple[int, ...] = ()
    output_axes: tuple[int, ...] = ()

    @property
    def fan_in(self) -> int:
        """How many products go into one output; one if no axis is known to sum."""
        return math.prod(self.shape[axis] for axis in self.input_axes)

    @property
    def name(self) -> str:
        """The path, with the slice's position: ``Block/kernel[3]``."""
        return self.path if self.index is None else f"{self.path}[{self.index}]"


def leaf_slices(
    path: str, shape: tuple[int, ...], role: Role, length: int | None
) -> list[Leaf]:
    """A leaf, or the slices of a stacked one; not in any group yet."""
    if length is None:
        return [Leaf(path, shape, role, group="")]
    return [Leaf(path, shape[1:], role, group="", index=i) for i in range(length)]


def check_inexact(path: str, value: Any) -> None:
    """Refuses a parameter that a factor near one would not change.

    Raises:
        TypeError: if the parameter is not of a floating-point type of at least 16
            bits.
    """
    where = f"parameter {path}" if path else "the only parameter"
    try:  # A text could name a type.
        dtype = None if isinstance(value, str) else jax.dtypes.result_type(value)
    except TypeError:
        dtype = None
    if dtype is None:
        raise TypeError(
            f"{where} must be an array, not {type(value).__name__}: leave out of"
            " params what is not trained"
        )
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise TypeError(
            f"{where} has dtype {dtype}, which cannot be rescaled: give"
            " it to fn as an input or as part of stats"
        )
    if jnp.finfo(dtype).bits < 16:
        raise TypeError(
            f"{where} has dtype {dtype}, in which small factors are lost: keep"
            " parameters in 16 bits or more, and let fn convert them"
        )

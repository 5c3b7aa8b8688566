"""Hidden units: what a plan knows of them."""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class UnitSlices:
    """Where a leaf holds one slice for each of some units.

    Entry ``start + p`` of the axis, up to ``stop``, is of unit
    ``p // inner % count``: so a dense kernel behind a flattened image, of
    (height · width · channels, out), holds rows of the channels in turn.

    Attributes:
        leaf: position in the plan's ``leaves``.
        axis: along which the slices lie.
        inner: entries of that axis from one unit to the next.
        start: where they begin.
        stop: where they end.
    """

    leaf: int
    axis: int
    inner: int
    start: int
    stop: int

    def unit_of_entries(self, count: int, size: int) -> np.ndarray:
        """The unit of each entry of the axis; -1 outside; int, shape (size,).

        Args:
            count: how many units there are.
            size: length of the axis.
        """
        entries = np.arange(size)
        units = (entries - self.start) // self.inner % count
        return np.where((entries >= self.start) & (entries < self.stop), units, -1)


def are_apart(places: Iterable[UnitSlices]) -> bool:
    """Whether no two of these hold the same entries of an axis of a leaf."""
    ends: dict[tuple[int, int], int] = {}
    for place in sorted(places, key=lambda p: (p.leaf, p.axis, p.start)):
        if place.start < ends.get((place.leaf, place.axis), 0):
            return False
        ends[place.leaf, place.axis] = place.stop
    return True


@dataclasses.dataclass(frozen=True)
class Units:
    """A layer of hidden units.

    A unit is a position along an axis that weights put out and that others sum
    over, with a nonlinearity in between; or one along each of several parts of an
    axis, as of a weight that makes the gates of a unit side by side.  Whatever order
    the units are in, all that holds a slice for each of them included, the function
    is the same.

    Attributes:
        count: how many there are.
        incoming: the weights, shifts and scales that make them.
        outgoing: the weights that are summed over them.
        statistics: the running statistics that hold one for each of them.
        mixed: whether they also meet each other before the outgoing weights, as
            a layer normalisation lets them.  Else the outputs do not depend on a
            unit whose outgoing slices are zero.
    """

    count: int
    incoming: tuple[UnitSlices, ...]
    outgoing: tuple[UnitSlices, ...]
    statistics: tuple[UnitSlices, ...] = ()
    mixed: bool = False

"""The hidden units of a network: all that must be in one order, found together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import dataclasses
import math
from typing import Any, NamedTuple

from jax.extend import core
import numpy as np

from swr_optax.planning.degrees import (
    CALLS,
    IDENTITIES,
    INNER,
    PRIMITIVES,
    UNKNOWN,
    shape_of,
)
from swr_optax.planning.plan import Leaf, Units, UnitSlices
from swr_optax.planning.units._program import Program, Step
from swr_optax.planning.units._spots import (
    Mixed,
    Spot,
    after,
    before,
    constant_along,
    partner,
    whole_axis,
)

NONLINEAR = frozenset(
    ["abs", "clamp", "max", "min", "select_n"]
    + [
        name
        for name, primitive in PRIMITIVES.items()
        if primitive.lossy and primitive.degree is PRIMITIVES["exp"].degree
    ]
)
"""What makes units of values: they can be dead, or saturate."""

SUMS = frozenset(["reduce_sum", "reduce_max", "reduce_min", "reduce_prod"])
"""Reductions that come out alike whatever the order of what they reduce."""

OPAQUE = frozenset(CALLS) - frozenset(INNER)
"""What contains equations that are not looked into."""


class Node(NamedTuple):
    """A value of the program, by number, and where its units are."""

    number: int
    spot: Spot


@dataclasses.dataclass
class FoundUnits:
    """Units and the values that enter their outgoing products.

    Attributes:
        units: what a plan keeps of them.
        reads: the values, each once, whatever its layout.
    """

    units: Units
    reads: tuple[Node, ...]


def find_units(
    program: Program,
    leaves: Sequence[Leaf],
    rows: Sequence[int | slice],
    parameters: int,
    statistics_out: Sequence[bool],
) -> list[FoundUnits]:
    """The hidden units of a network, in the order of its weights.

    Args:
        program: its first inputs are the leaves.
        leaves: the plan's leaves, with roles and axes.
        rows: for each of the program's leaves which of these it is.
        parameters: how many of the program's leaves are parameters.
        statistics_out: for each output whether it is an updated statistic.
    """
    network = _Network(program, len(rows), parameters, statistics_out)
    starts = [
        (leaves[row].layer, Node(program.inputs[k], whole_axis(axis, shape[axis])))
        for k, row in enumerate(rows)
        if isinstance(row, int) and leaves[row].role in ("weight", "frozen")
        for shape in [leaves[row].shape]
        for axis in _only_output(leaves[row])
    ]
    found: list[FoundUnits] = []
    seen: set[Node] = set()
    for _, start in sorted(starts, key=lambda pair: pair[0]):
        if start in seen:
            continue
        try:
            group = _Group(network, start)
            seen |= group.parents.keys()
            found.append(group.found(rows))
        except Mixed:
            continue
    return found


def _only_output(leaf: Leaf) -> list[int]:
    """The axis of which each entry is one output, if there is one.

    A head of attention is no unit: it is many.
    """
    axes = [axis for axis in leaf.output_axes if leaf.shape[axis] > 1]
    return axes if leaf.input_axes and len(axes) == 1 else []


class _Network:
    """A program with what its values are used for."""

    def __init__(
        self,
        program: Program,
        leaves: int,
        parameters: int,
        statistics_out: Sequence[bool],
    ) -> None:
        self.program = program
        self.leaves = {number: k for k, number in enumerate(program.inputs[:leaves])}
        self.parameters = parameters
        self.inputs = frozenset(program.inputs[leaves:])
        self.data = set(self.inputs)
        self.uses: dict[int, list[tuple[Step, int]]] = {}
        self.made: dict[int, tuple[Step, int]] = {}
        self.visible = program.visible()
        self.outputs = frozenset(
            output
            for output, statistic in zip(program.outputs, statistics_out, strict=True)
            if isinstance(output, int) and not statistic
        )
        # Each updated statistic is for the statistic of its turn.
        updated = [
            output
            for output, statistic in zip(program.outputs, statistics_out, strict=True)
            if statistic
        ]
        self.updates: dict[int, list[int]] = {}
        for output, given in zip(updated, program.inputs[parameters:], strict=False):
            if isinstance(output, int):
                self.updates.setdefault(output, []).append(given)
        # What a call returns is the value inside, under another number.
        self.aliases: dict[int, list[int]] = {}
        for outside, inside in program.same.items():
            if isinstance(inside, int):
                self.aliases.setdefault(inside, []).append(outside)
        for step in program.equations():
            for k, operand in enumerate(step.operands):
                if isinstance(operand, int):
                    self.uses.setdefault(operand, []).append((step, k))
                    if self.source(operand) in self.data:
                        self.data.update(step.results)
            for k, result in enumerate(step.results):
                self.made[result] = step, k

    def source(self, number: int) -> int:
        """The number of the same value where it is made."""
        while number in self.program.same:
            inside = self.program.same[number]
            if not isinstance(inside, int):
                return number
            number = inside
        return number

    def names(self, number: int) -> list[int]:
        """All numbers of a value, from where it is made outwards."""
        found = [number]
        for name in found:
            found += self.aliases.get(name, [])
        return found

    def is_data(self, number: int) -> bool:
        return number in self.data


class _Group:
    """All places where the slices of some units are: what must keep one order.

    Attributes:
        parents: for each place, where its slices come from.
        products: places in the data that are summed over with other values, and
            the places there.
        sums: places that are summed over the units alone.
        nonlinear: places in what a nonlinearity gives.
        mixed: whether the units meet in a product of data.
    """

    def __init__(self, network: _Network, start: Node) -> None:
        self.network = network
        self.parents: dict[Node, list[Node]] = {start: []}
        self.products: dict[tuple[Node, Node], None] = {}
        self.sums: list[Node] = []
        self.nonlinear: set[Node] = set()
        self.mixed = False
        self.pending = [start]
        while self.pending:
            node = self.pending.pop()
            self._come_from(node)
            for name in network.names(node.number):
                if name in network.outputs:
                    raise Mixed
                for statistic in network.updates.get(name, []):
                    self._note(statistic, node.spot)
                for step, operand in network.uses.get(name, []):
                    self._go_into(node, step, operand)

    def _note(self, number: int, spot: Spot) -> Node:
        node = Node(self.network.source(number), spot)
        if node not in self.parents:
            self.parents[node] = []
            self.pending.append(node)
        return node

    def _go_into(self, node: Node, step: Step, operand: int) -> None:
        """Follows the slices into what an equation makes of them."""
        eqn, name = step.eqn, step.eqn.primitive.name
        if not step.results:
            return  # Prints and the like.
        if name in OPAQUE:
            raise Mixed
        if name in IDENTITIES:
            self._note(step.results[operand], node.spot)
            return
        found = partner(eqn, operand, node.spot)
        if found is not None:
            k, spot = found
            other = step.operands[k]
            if isinstance(other, int):
                self._sum_over(node, self._note(other, spot))
            return
        if name in SUMS and node.spot.along.axis in eqn.params["axes"]:
            self.sums.append(node)
            return
        reached = after(eqn, operand, node.spot)
        for result, there in zip(step.results, reached, strict=True):
            if there is not None:
                self._note(result, there)

    def _sum_over(self, node: Node, other: Node) -> None:
        """Notes a product that sums over the units."""
        is_data = self.network.is_data(node.number), self.network.is_data(other.number)
        if is_data == (True, True):
            self.mixed = True
        elif is_data == (True, False):
            self.products[node, other] = None
        elif is_data == (False, True):
            self.products[other, node] = None

    def _come_from(self, node: Node) -> None:
        """Follows the slices back to where they come from."""
        network, number = self.network, node.number
        if number in network.leaves:
            return
        if number in network.program.constants:
            self._must_be_constant(network.program.constants[number], node.spot)
            return
        inside = network.program.same.get(number)
        if isinstance(inside, core.Literal) or number in network.inputs:
            raise Mixed
        step, result = network.made[number]
        eqn, name = step.eqn, step.eqn.primitive.name
        if name in OPAQUE:
            raise Mixed
        if name in IDENTITIES:
            found = {result: node.spot}
        else:
            found = before(eqn, result, node.spot)
        for operand, spot in found.items():
            source = step.operands[operand]
            if isinstance(source, core.Literal):
                self._must_be_constant(source.val, spot)
            else:
                self.parents[node].append(self._note(source, spot))
        if not found and not _is_same_for_all(eqn, node.spot):
            raise Mixed
        if name == "conv_general_dilated" and eqn.params["feature_group_count"] > 1:
            features = eqn.params["dimension_numbers"].out_spec[1]
            if node.spot.along.axis == features and len(found) < 2:
                raise Mixed  # Outputs cannot leave their group.
        if name in NONLINEAR and network.is_data(number):
            self.nonlinear.add(node)

    def _must_be_constant(self, value: Any, spot: Spot) -> None:
        try:
            array = np.asarray(value)
        except Exception as error:  # Traced: its numbers are not known.
            raise Mixed from error
        if not constant_along(array, spot):
            raise Mixed

    def _ancestors(self, nodes: Iterable[Node]) -> set[Node]:
        found = list(dict.fromkeys(nodes))
        seen = set(found)
        for node in found:
            for parent in self.parents[node]:
                if parent not in seen:
                    seen.add(parent)
                    found.append(parent)
        return seen

    def found(self, rows: Sequence[int | slice]) -> FoundUnits:
        """What was found, if these are hidden units.

        Raises:
            Mixed: if they are not.
        """
        network = self.network
        made = self._ancestors(n for n in self.parents if network.is_data(n.number))
        products = [pair for pair in self.products if self._has_leaf(pair[1])]
        summed = self._ancestors(other for _, other in products)
        read = dict.fromkeys(node for node, _ in products)
        reads = [node for node in read if self._is_behind_nonlinearity(node)]
        mixed = self.mixed or len(products) < len(self.products)
        mixed |= any(not made.isdisjoint(self._ancestors([n])) for n in self.sums)
        sides: dict[str, list[UnitSlices]] = {}
        for node in self.parents:
            place = network.leaves.get(node.number)
            if place is None:
                continue
            row = rows[place]
            statistic = place >= network.parameters
            once = (node in made) != (node in summed)
            if isinstance(row, slice) or not (statistic or once):
                raise Mixed
            side = "outgoing" if node in summed else "incoming"
            side = "statistics" if statistic else side
            (axis, _, inner), start, stop = node.spot
            sides.setdefault(side, []).append(UnitSlices(row, axis, inner, start, stop))
        _check_apart([slices for side in sides.values() for slices in side])
        if not (reads and sides.get("incoming") and sides.get("outgoing")):
            raise Mixed
        order = lambda slices: (slices.leaf, slices.axis, slices.start)  # noqa: E731
        units = Units(
            count=next(iter(self.parents)).spot.along.length,
            incoming=tuple(sorted(sides["incoming"], key=order)),
            outgoing=tuple(sorted(sides["outgoing"], key=order)),
            statistics=tuple(sorted(sides.get("statistics", []), key=order)),
            mixed=mixed,
        )
        return FoundUnits(units, self._as_they_are_made(reads))

    def _is_behind_nonlinearity(self, read: Node) -> bool:
        return any(
            node in self.nonlinear
            and self._has_leaf(node)
            and (_others(self, node) > 1 or _others(self, read) == 1)
            for node in self._ancestors([read])
        )

    def _has_leaf(self, node: Node) -> bool:
        """Whether parameters are in it, or else it is a constant or noise."""
        leaves = self.network.leaves
        return any(source.number in leaves for source in self._ancestors([node]))

    def _as_they_are_made(self, reads: Sequence[Node]) -> tuple[Node, ...]:
        """The reads before they were cast and reshaped, each once.

        Raises:
            Mixed: if one is inside a function with derivatives of its own.
        """
        network = self.network
        found: dict[Node, None] = {}
        for read in reads:
            node = read
            best = None
            while True:
                names = [n for n in network.names(node.number) if n in network.visible]
                best = Node(names[0], node.spot) if names else best
                step, _ = network.made.get(node.number, (None, 0))
                if step is None or step.eqn.primitive.name not in LAYOUT | IDENTITIES:
                    break
                (node,) = self.parents[node]
            if best is None:
                raise Mixed
            found[best] = None
        return tuple(found)


LAYOUT = frozenset(["convert_element_type", "pad", "reshape", "squeeze", "transpose"])
"""What changes no number of a value, but for rounding and padding."""


def _others(group: _Group, node: Node) -> int:
    """Entries of a value for each unit."""
    shape = group.network.program.avals[node.number].shape
    return math.prod(shape) // node.spot.along.length


def _is_same_for_all(eqn: core.JaxprEqn, spot: Spot) -> bool:
    """Whether a result that comes from no operand's slices is alike for all units.

    Random numbers are so on the whole, though no draw is.
    """
    name, axis = eqn.primitive.name, spot.along.axis
    if PRIMITIVES.get(name, UNKNOWN).noise:
        return True
    match name:
        case "broadcast_in_dim":
            dimensions = tuple(eqn.params["broadcast_dimensions"])
            if axis not in dimensions:
                return True
            return shape_of(eqn.invars[0])[dimensions.index(axis)] == 1
        case "iota":
            return eqn.params["dimension"] != axis
        case "pad":
            low = eqn.params["padding_config"][axis][0]
            end = low + shape_of(eqn.invars[0])[axis]
            return spot.stop <= low or end <= spot.start
    return False


def _check_apart(places: Sequence[UnitSlices]) -> None:
    """Refuses slices that overlap on one axis, as of a table that is tied."""
    ends: dict[tuple[int, int], int] = {}
    for place in sorted(places, key=lambda p: (p.leaf, p.axis, p.start)):
        if place.start < ends.get((place.leaf, place.axis), 0):
            raise Mixed
        ends[place.leaf, place.axis] = place.stop

"""The hidden units of a network: all that must be in one order, found together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import NamedTuple

from swr_optax.planning.degrees import IDENTITIES, SliceAxis
from swr_optax.planning.plan import Leaf, Units, UnitSlices, are_apart, rows_of
from swr_optax.planning.units._group import Group, Node
from swr_optax.planning.units._members import member_places
from swr_optax.planning.units._program import Program, Step
from swr_optax.planning.units._spots import (
    Mixed,
    Parted,
    Spot,
    moved,
    parts,
    whole_axis,
)
from swr_optax.planning.units._uses import Uses
from swr_optax.planning.units._zeros import Zeros

LAYOUT = frozenset(["convert_element_type", "pad", "reshape", "squeeze", "transpose"])
"""What changes no number of a value, but for rounding and padding."""


class Read(NamedTuple):
    """What units put out, among the values that the program returns from inside.

    Attributes:
        number: of the value.
        at: for each of its leading axes the entry to take, a round of a scan
            or a member of an ensemble; None for all.
        spot: where the units are in what is taken.
    """

    number: int
    at: tuple[int | None, ...]
    spot: Spot


@dataclasses.dataclass
class FoundUnits:
    """Units and the values that enter their outgoing products.

    Attributes:
        units: what a plan keeps of them.
        reads: the values, each once, whatever its layout.
    """

    units: Units
    reads: tuple[Read, ...]


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
        rows: for each of the program's leaves which of these it is; a slice for a
            stack.
        parameters: how many of the program's leaves are parameters.
        statistics_out: for each output whether it is an updated statistic.
    """
    network = Uses(program, rows, parameters, statistics_out)
    starts: list[tuple[int, Node]] = []
    for number, row in zip(program.inputs, rows, strict=False):
        for leaf in [leaves[each] for each in rows_of(row)]:
            layer = (leaf.index or 0,) if number in network.stacks else ()
            outputs = []
            for axis in _outputs(leaf):
                spot = whole_axis(axis, leaf.shape[axis])
                spot = spot if leaf.index is None else moved(spot, 1)
                outputs.append(Node(number, spot, layer))
            starts += [(leaf.layer, node) for node in _unit_axes(network, outputs)]
    found: list[FoundUnits] = []
    seen: set[Node] = set()
    pending = [start for _, start in sorted(starts, key=lambda pair: pair[0])]
    while pending:
        start = pending.pop(0)
        if start in seen:
            continue
        seen.add(start)
        try:
            group = Group(network, start)
            seen |= group.parents.keys()
            found += [
                each for each in _found(group, rows) if not _is_frozen(each, leaves)
            ]
        except Parted as cut:  # As where one product makes the gates of all units.
            spots = parts(start.spot, cut)
            pending = [start._replace(spot=spot) for spot in spots] + pending
        except Mixed:
            continue
    return found


def _outputs(leaf: Leaf) -> list[int]:
    """The axes of a weight along which its outputs lie."""
    if not leaf.input_axes:
        return []
    return [axis for axis in leaf.output_axes if leaf.shape[axis] > 1]


def _unit_axes(network: Uses, outputs: Sequence[Node]) -> Sequence[Node]:
    """Those along which each entry is one output, if all others are taken apart."""
    if len(outputs) < 2:
        return outputs
    whole = [node for node in outputs if not _is_taken_apart(network, node)]
    return {0: outputs, 1: whole}.get(len(whole), [])


def _is_taken_apart(network: Uses, start: Node) -> bool:
    """Whether each entry of an axis goes its own way, as gates of an axis do.

    Heads of attention do not: one of them is many outputs, and no unit.
    """
    pending = [start]
    while pending:
        node = pending.pop()
        try:
            Group(network, node)
        except Parted as cut:
            pending += [node._replace(spot=spot) for spot in parts(node.spot, cut)]
        except Mixed:
            return False
        else:
            return False
    return True


def _is_frozen(found: FoundUnits, leaves: Sequence[Leaf]) -> bool:
    """Whether one of the leaves that hold the units must stay as it is."""
    places = (*found.units.incoming, *found.units.outgoing)
    return any(leaves[place.leaf].role == "frozen" for place in places)


def _found(group: Group, rows: Sequence[int | slice]) -> list[FoundUnits]:
    """What was found, if these are hidden units; of an ensemble, those of each member.

    Raises:
        Mixed: if they are not.
    """
    network = group.network
    contracted, meetings = group.sums_of_products()
    products = [pair for pair in contracted if group.has_leaf(pair[1])]
    weights = [other for _, other in products]
    summed = group.ancestors(weights)
    made = group.ancestors(
        n for n in group.parents if network.is_data(n.number) and n not in summed
    )
    read = dict.fromkeys(node for node, _ in products)
    reads = [node for node in read if group.is_behind_nonlinearity(node)]
    met = [*meetings, *((node,) for node in group.sums)]
    mixed = any(not made.isdisjoint(group.ancestors(nodes)) for nodes in met)
    mixed |= len(products) < len(contracted)
    zeros = Zeros(group, weights)
    if not zeros.are_harmless():
        raise Mixed  # What is reset would never be a number again.
    mixed |= not zeros.hold(weights)
    sides: dict[str, list[Node]] = {"incoming": [], "outgoing": [], "statistics": []}
    for node in group.parents:
        place = network.leaves.get(node.number)
        if place is None:
            continue
        statistic = place >= network.parameters
        once = (node in made) != (node in summed)
        if not (statistic or once):
            raise Mixed
        side = "outgoing" if node in summed else "incoming"
        sides["statistics" if statistic else side].append(node)
    if not (reads and sides["incoming"] and sides["outgoing"]):
        raise Mixed
    places, members = _members(
        group, rows, [n for side in sides.values() for n in side]
    )
    found = []
    for member in members:
        slices = {
            side: [s for node in nodes for s in _slices(network, node, rows, member)]
            for side, nodes in sides.items()
        }
        if not are_apart([each for side in slices.values() for each in side]):
            raise Mixed  # As of a table that is tied.
        units = Units(
            count=next(iter(group.parents)).spot.along.length,
            mixed=mixed,
            **{side: tuple(sorted(each, key=_order)) for side, each in slices.items()},
        )
        found.append(FoundUnits(units, _reads(group, reads, places, member)))
    return found


def _members(
    group: Group, rows: Sequence[int | slice], leaves: Sequence[Node]
) -> tuple[dict[Node, SliceAxis], list[tuple[int, ...]]]:
    """Where the members of an ensemble are, and each as an index; () if it is none.

    Raises:
        Mixed: if all leaves are stacks, but not of members that are independent.
    """
    places = [rows[group.network.leaves[node.number]] for node in leaves]
    pairs = zip(leaves, places, strict=True)
    if not all(isinstance(place, slice) and not node.rounds for node, place in pairs):
        return {}, [()]
    members, *others = {len(rows_of(place)) for place in places}
    if others:
        raise Mixed
    return member_places(group, leaves, members), [(k,) for k in range(members)]


def _slices(
    network: Uses, node: Node, rows: Sequence[int | slice], member: tuple[int, ...]
) -> list[UnitSlices]:
    """Where a leaf holds units, as the plan says it; of a member, if there are any."""
    row = rows[network.leaves[node.number]]
    spot = moved(node.spot, -1) if isinstance(row, slice) else node.spot
    (axis, _, inner), start, stop = spot
    each = rows_of(row)
    for layer in node.rounds + member:
        each = each[layer : layer + 1]
    return [UnitSlices(leaf, axis, inner, start, stop) for leaf in each]


def _order(slices: UnitSlices) -> tuple[int, int, int]:
    return slices.leaf, slices.axis, slices.start


def _reads(
    group: Group,
    reads: Sequence[Node],
    places: Mapping[Node, SliceAxis],
    member: tuple[int, ...],
) -> tuple[Read, ...]:
    """The reads before they were cast and reshaped, each once.

    Raises:
        Mixed: if one is inside a function with derivatives of its own.
    """
    network = group.network
    found: dict[tuple[int, Spot, SliceAxis | None], dict[tuple[int, ...], None]] = {}
    for read in reads:
        node = read
        best = None
        while True:
            names = [n for n in network.names(node.number) if n in network.visible]
            best = (names[0], node) if names else best
            step, _ = network.made.get(node.number, (None, 0))
            if not isinstance(step, Step):
                break
            if step.eqn.primitive.name not in LAYOUT | IDENTITIES:
                break
            (node,) = group.parents[node]
        if best is None:
            raise Mixed
        number, node = best
        found.setdefault((number, node.spot, places.get(node)), {})[node.rounds] = None
    return tuple(
        read
        for (number, spot, along), rounds in found.items()
        for read in (
            _in_rounds(network, number, spot, list(rounds))
            if along is None
            else [_of_member(network, number, spot, along, member)]
        )
    )


def _in_rounds(
    network: Uses, number: int, spot: Spot, rounds: Sequence[tuple[int, ...]]
) -> list[Read]:
    """A read for each round, or one for all rounds if all are there."""
    loops = network.program.loops[number]
    layered = network.layers_around(number)
    if len(rounds) == math.prod(len(network.program.rounds[x]) for x in layered):
        return [Read(number, (None,) * len(loops), moved(spot, len(loops)))]
    others = len(loops) - len(layered)
    found = []
    for each in rounds:
        known = dict(zip(layered, each, strict=True))
        found.append(Read(number, tuple(map(known.get, loops)), moved(spot, others)))
    return found


def _of_member(
    network: Uses, number: int, spot: Spot, along: SliceAxis, member: tuple[int, ...]
) -> Read:
    """A read of one slice along the axis of an ensemble's members.

    Raises:
        Mixed: if they have no axis of their own.
    """
    axis = along.axis
    if along != SliceAxis(axis, network.program.avals[number].shape[axis]):
        raise Mixed
    loops = len(network.program.loops[number])
    at = (*(None,) * (loops + axis), *member)
    return Read(number, at, moved(spot, loops - (spot.along.axis > axis)))

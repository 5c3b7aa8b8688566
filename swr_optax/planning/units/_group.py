"""What must keep one order: where the slices of units come from and go to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import itertools
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
from swr_optax.planning.units._program import Link, Operand, Step
from swr_optax.planning.units._spots import (
    Mixed,
    Spot,
    after,
    before,
    constant_along,
    in_every_group,
    moved,
    partner,
)
from swr_optax.planning.units._uses import Uses, layers_taken

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
"""What contains equations that are not looked into, but for scans that are opened."""


class Node(NamedTuple):
    """Where units are in a value.

    Attributes:
        number: of the value.
        spot: where its units are.
        rounds: for each scan with layers that is around it the round; for a stack
            the layer.
    """

    number: int
    spot: Spot
    rounds: tuple[int, ...] = ()


class Contraction(NamedTuple):
    """A sum of products over the units.

    Attributes:
        node: where they are in one operand.
        other: where they are in the other one.
        eqn: the equation.
        operand: which of its operands the first is.
    """

    node: Node
    other: Node
    eqn: core.JaxprEqn
    operand: int


class Group:
    """All places where the slices of some units are: what must keep one order.

    Attributes:
        parents: for each place, where its slices come from.
        contractions: each sum of products over the units, from either side.
        sums: places that are summed over the units alone.
        nonlinear: places in what a nonlinearity gives.
    """

    def __init__(self, network: Uses, start: Node) -> None:
        self.network = network
        self.parents: dict[Node, list[Node]] = {start: []}
        self.contractions: list[Contraction] = []
        self.sums: list[Node] = []
        self.nonlinear: set[Node] = set()
        self.pending = [start]
        while self.pending:
            node = self.pending.pop()
            self._come_from(node)
            for name in network.names(node.number):
                if name in network.outputs:
                    raise Mixed
                for statistic in network.updates.get(name, []):
                    self._note(Node(statistic, node.spot, node.rounds))
                for step, operand in network.uses.get(name, []):
                    if isinstance(step, Link):
                        self._go_along(node, step, operand)
                    else:
                        self._go_into(node, step, operand)

    def _note(self, node: Node) -> Node:
        """Notes where units are.

        Raises:
            Mixed: if it is not known in which layer of a stack.
        """
        network = self.network
        node = node._replace(number=network.source(node.number))
        stack = node.number in network.stacks
        if len(node.rounds) != (stack or len(network.layers_around(node.number))):
            raise Mixed
        if node not in self.parents:
            self.parents[node] = []
            self.pending.append(node)
        return node

    def _note_in(
        self, number: int, spot: Spot, rounds: Mapping[int, int]
    ) -> list[Node]:
        """Notes a value in these rounds, and in all rounds of other scans around it."""
        network = self.network
        each = [
            [rounds[loop]] if loop in rounds else network.program.rounds[loop]
            for loop in network.layers_around(network.source(number))
        ]
        return [
            self._note(Node(number, spot, found)) for found in itertools.product(*each)
        ]

    def _rounds(self, node: Node) -> dict[int, int]:
        """The round of each scan with layers that is around a value."""
        if node.number in self.network.stacks:
            return {}
        around = self.network.layers_around(node.number)
        return dict(zip(around, node.rounds, strict=True))

    def _go_along(self, node: Node, link: Link, operand: int) -> None:
        """Follows the slices into a round, out of it or on to the next."""
        network, loop, (result,) = self.network, link.loop, link.results
        order = network.program.rounds[loop]
        spot = moved(node.spot, link.moved)
        rounds = self._rounds(node)
        now = rounds.pop(loop, None)
        if now is not None and result in network.stacks:
            self._note(Node(result, spot, (now,)))
            return
        if node.number in network.stacks:
            rounds[loop] = node.rounds[0]
        elif link.inwards and not link.moved and loop in network.layered:
            if now is not None:
                those = order[order.index(now) + 1 :][:1]
            else:  # From outside: what begins, or what a round puts in its place.
                those = order[1:] if operand else order[:1]
            for each in those:
                self._note_in(result, spot, rounds | {loop: each})
            return
        elif not link.moved and now not in (None, order[-1]):
            return  # Another round has the last word.
        self._note_in(result, spot, rounds)

    def _come_along(self, node: Node, link: Link) -> list[Node]:
        """Where slices come from that are in a round, or behind them all.

        Raises:
            Mixed: if they are not the same for all units where that is a constant.
        """
        network, loop = self.network, link.loop
        order = network.program.rounds[loop]
        spot = moved(node.spot, -link.moved)
        rounds = self._rounds(node)
        now = rounds.pop(loop, None)
        sources: Sequence[Operand] = link.operands
        if node.number in network.stacks:
            rounds[loop] = node.rounds[0]
        elif not link.inwards and not link.moved and loop in network.layered:
            rounds[loop] = order[-1]
        elif now is not None and link.moved:
            (start,) = sources
            if isinstance(start, int) and network.is_stack(start):
                return [self._note(Node(start, spot, (now,)))]
        elif now == order[0]:
            sources = sources[:1]
        elif now is not None:
            sources = sources[1:]
            rounds[loop] = order[order.index(now) - 1]
        return [
            found
            for source in sources
            for found in self._come_from_operand(source, spot, rounds)
        ]

    def _go_into(self, node: Node, step: Step, operand: int) -> None:
        """Follows the slices into what an equation makes of them."""
        eqn, name = step.eqn, step.eqn.primitive.name
        if not step.results:
            return  # Prints and the like.
        if name in OPAQUE or self._picks_layer(node, step):
            raise Mixed
        if node.number in self.network.stacks:
            taken = layers_taken(eqn)
            if taken is None:  # It is cast.
                self._note(node._replace(number=step.results[operand]))
            elif node.rounds[0] in taken:
                result = step.results[taken.index(node.rounds[0])]
                self._note_in(result, node.spot, {})
            return
        rounds = self._rounds(node)
        if name in IDENTITIES:
            self._note_in(step.results[operand], node.spot, rounds)
            return
        found = partner(eqn, operand, node.spot)
        if found is not None:
            k, spot = found
            other = step.operands[k]
            if isinstance(other, int):
                for each in self._note_in(other, spot, rounds):
                    self.contractions.append(Contraction(node, each, eqn, operand))
            return
        if name in SUMS and node.spot.along.axis in eqn.params["axes"]:
            self.sums.append(node)
            return
        reached = after(eqn, operand, node.spot)
        for result, there in zip(step.results, reached, strict=True):
            if there is not None:
                self._note_in(result, there, rounds)

    def _picks_layer(self, node: Node, step: Step) -> bool:
        """Whether each round of a loop takes another layer out of a stack."""
        loops = self.network.program.loops
        return (
            step.eqn.primitive.name in ("dynamic_slice", "gather")
            and len(loops[step.results[0]]) > len(loops[node.number])
            and any(
                each.number in self.network.whole_stacks
                for each in self.ancestors([node])
            )
        )

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
        if isinstance(step, Link):
            self.parents[node] += self._come_along(node, step)
            return
        eqn, name = step.eqn, step.eqn.primitive.name
        if name in OPAQUE:
            raise Mixed
        if number in network.stacks:
            source = step.operands[result]
            assert isinstance(source, int)  # Else it would be no stack.
            self.parents[node].append(self._note(node._replace(number=source)))
            return
        stack, *_ = step.operands or (None,)
        if isinstance(stack, int) and network.is_stack(stack):
            taken = layers_taken(eqn)
            assert taken is not None  # Else it would be no stack.
            layer = Node(stack, node.spot, (taken[result],))
            self.parents[node].append(self._note(layer))
            return
        if name in IDENTITIES:
            found = {result: node.spot}
        else:
            found = before(eqn, result, node.spot)
        for operand, spot in found.items():
            self.parents[node] += self._come_from_operand(
                step.operands[operand], spot, self._rounds(node)
            )
        if not found and not _is_same_for_all(eqn, node.spot):
            raise Mixed
        if name == "conv_general_dilated" and eqn.params["feature_group_count"] > 1:
            features = eqn.params["dimension_numbers"].out_spec[1]
            shape, groups = shape_of(eqn.outvars[0]), eqn.params["feature_group_count"]
            within = in_every_group(node.spot, shape, groups)
            if node.spot.along.axis == features and len(found) < 2 and not within:
                raise Mixed  # Outputs cannot leave their group.
        if name in NONLINEAR and network.is_data(number):
            self.nonlinear.add(node)

    def _come_from_operand(
        self, source: Operand, spot: Spot, rounds: Mapping[int, int]
    ) -> list[Node]:
        if isinstance(source, core.Literal):
            self._must_be_constant(source.val, spot)
            return []
        return self._note_in(source, spot, rounds)

    def _must_be_constant(self, value: Any, spot: Spot) -> None:
        try:
            array = np.asarray(value)
        except Exception as error:  # Traced: its numbers are not known.
            raise Mixed from error
        if not constant_along(array, spot):
            raise Mixed

    def sums_of_products(
        self,
    ) -> tuple[list[tuple[Node, Node]], list[tuple[Node, Node]]]:
        """Places in the data that are summed over with others, and those others.

        Then places that meet: both in data or both in parameters.
        """
        products, meetings = [], []
        for node, other, *_ in self.contractions:
            data, also = self._are_data(node, other)
            if data == also:
                meetings.append((node, other))
            else:
                products.append((node, other) if data else (other, node))
        return list(dict.fromkeys(products)), meetings

    def _are_data(self, node: Node, other: Node) -> tuple[bool, bool]:
        """Which of two places are in data; weights that data chose among are not."""
        network, numbers = self.network, (node.number, other.number)
        data, also = map(network.is_data, numbers)
        if data and also:
            data, also = (number in network.made_of_data for number in numbers)
        return data, also

    def ancestors(self, nodes: Iterable[Node]) -> set[Node]:
        """These places and all that their slices come from."""
        found = list(dict.fromkeys(nodes))
        seen = set(found)
        for node in found:
            for parent in self.parents[node]:
                if parent not in seen:
                    seen.add(parent)
                    found.append(parent)
        return seen

    def is_behind_nonlinearity(self, read: Node) -> bool:
        """Whether a nonlinearity made units of what parameters put out."""
        return any(
            node in self.nonlinear
            and self.has_leaf(node)
            and (self._others(node) > 1 or self._others(read) == 1)
            for node in self.ancestors([read])
        )

    def has_leaf(self, node: Node) -> bool:
        """Whether parameters are in it, or else it is a constant or noise."""
        leaves = self.network.leaves
        return any(source.number in leaves for source in self.ancestors([node]))

    def _others(self, node: Node) -> int:
        """Entries of a value for each unit."""
        shape = self.network.program.avals[node.number].shape
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

"""Networks that run side by side, as in an ensemble: whose slices are where."""

from __future__ import annotations

from collections.abc import Sequence

from swr_optax.planning.degrees import IDENTITIES, SliceAxis
from swr_optax.planning.units._group import Group, Node
from swr_optax.planning.units._program import Link
from swr_optax.planning.units._spots import Mixed, Spot, after, covering, moved


def member_places(
    group: Group, stacks: Sequence[Node], members: int
) -> dict[Node, SliceAxis]:
    """Where the slices of the members are, wherever the units of a group are.

    ``vmap`` runs the networks of an ensemble on stacks of their parameters, and an
    einsum the experts of a mixture.  If from the stacks on each slice of a value is
    made of the same slices of others, units of one member are independent of those
    of the others.

    Args:
        group: the places of units of all members together.
        stacks: those in leaves; each has the members along its first axis.
        members: how many there are.

    Returns:
        The slices for each place that parameters are in.

    Raises:
        Mixed: if a slice is made of slices of other members.
    """
    children: dict[Node, list[Node]] = {}
    for node, parents in group.parents.items():
        for parent in parents:
            children.setdefault(parent, []).append(node)
    found = dict.fromkeys(stacks, SliceAxis(0, members))
    pending = list(found)
    while pending:
        node = pending.pop()
        for child in children.get(node, []):
            along = _carried(group, node, child, found[node])
            if child not in found:
                pending.append(child)
            if found.setdefault(child, along) != along:
                raise Mixed
    for node, other, eqn, operand in group.contractions:
        if node in found and other in found:
            # Each product is of one member alone if both sides put it in one place.
            here = after(eqn, operand, _whole(group, node, found[node]))
            there = after(eqn, 1 - operand, _whole(group, other, found[other]))
            if here != there:
                raise Mixed
    return found


def _carried(group: Group, node: Node, child: Node, along: SliceAxis) -> SliceAxis:
    """Where the members are in what is made of a value that has them somewhere.

    Raises:
        Mixed: if it has them nowhere.
    """
    network = group.network
    step, result = network.made[child.number]
    spot = _whole(group, node, along)
    if isinstance(step, Link):
        return moved(spot, step.moved).along
    if step.eqn.primitive.name in IDENTITIES:
        return along
    there, *others = {
        after(step.eqn, k, spot)[result]
        for k, operand in enumerate(step.operands)
        if isinstance(operand, int) and network.source(operand) == node.number
    }
    if others or there is None or there != _whole(group, child, there.along):
        raise Mixed
    return there.along


def _whole(group: Group, node: Node, along: SliceAxis) -> Spot:
    """The slices as all that there is along their axis of a value."""
    return covering(along, group.network.program.avals[node.number].shape)

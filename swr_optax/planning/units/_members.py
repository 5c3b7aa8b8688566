"""Networks that run side by side, as in an ensemble: whose slices are where."""

from __future__ import annotations

from collections.abc import Sequence

from jax.extend import core

from swr_optax.planning.degrees import IDENTITIES
from swr_optax.planning.units._group import Group, Node
from swr_optax.planning.units._program import Link
from swr_optax.planning.units._spots import Mixed, after, moved, whole_axis


def member_axes(group: Group, stacks: Sequence[Node], members: int) -> dict[Node, int]:
    """The axis with a slice for each member, wherever the units of a group are.

    ``vmap`` runs the networks of an ensemble on stacks of their parameters, and an
    einsum the experts of a mixture.  If from the stacks on each slice of a value is
    made of the same slices of others, units of one member are independent of those
    of the others.

    Args:
        group: the places of units of all members together.
        stacks: those in leaves; each has the members along its first axis.
        members: how many there are.

    Returns:
        The axis for each place that parameters are in.

    Raises:
        Mixed: if a slice is made of slices of other members.
    """
    children: dict[Node, list[Node]] = {}
    for node, parents in group.parents.items():
        for parent in parents:
            children.setdefault(parent, []).append(node)
    found = dict.fromkeys(stacks, 0)
    pending = list(found)
    while pending:
        node = pending.pop()
        for child in children.get(node, []):
            axis = _carried(group, node, child, found[node], members)
            if child not in found:
                pending.append(child)
            if found.setdefault(child, axis) != axis:
                raise Mixed
    for node, other, eqn, operand in group.contractions:
        if node in found and other in found:
            _check_batched(eqn, operand, found[node], found[other])
    return found


def _carried(group: Group, node: Node, child: Node, axis: int, members: int) -> int:
    """Where the members are in what is made of a value that has them along an axis.

    Raises:
        Mixed: if it has them nowhere.
    """
    network = group.network
    step, result = network.made[child.number]
    spot = whole_axis(axis, members)
    if isinstance(step, Link):
        return moved(spot, step.moved).along.axis
    if step.eqn.primitive.name in IDENTITIES:
        return axis
    there, *others = {
        after(step.eqn, k, spot)[result]
        for k, operand in enumerate(step.operands)
        if isinstance(operand, int) and network.source(operand) == node.number
    }
    if others or there is None or there != whole_axis(there.along.axis, members):
        raise Mixed
    return there.along.axis


def _check_batched(
    eqn: core.JaxprEqn, operand: int, axis: int, other_axis: int
) -> None:
    """Refuses a sum of products of members with other members.

    Raises:
        Mixed: if these are not all along one batch axis of a ``dot_general``.
    """
    if eqn.primitive.name == "dot_general":
        _, batch = eqn.params["dimension_numbers"]
        if (axis, other_axis) in zip(batch[operand], batch[1 - operand], strict=True):
            return
    raise Mixed

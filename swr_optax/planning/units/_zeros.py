"""Where slices of units are zero because those of the leaves are.

A unit is cut off if its outgoing slices are zero, as long as what the network makes
of these, such as ``o * scale``, is zero too.  Of ``softplus(o)`` it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import math

from jax.extend import core
import numpy as np

from swr_optax.planning.degrees import IDENTITIES, PRIMITIVES, UNKNOWN
from swr_optax.planning.units._group import Group, Node
from swr_optax.planning.units._program import Link, Operand, Step

IF_ANY = frozenset(["conv_general_dilated", "dot_general", "mul"])
"""Of these one operand of zeros is enough."""

IF_ALL = frozenset(
    [
        *("add", "add_any", "concatenate", "dynamic_update_slice", "max", "min"),
        *("pad", "scatter", "scatter-add", "select_n", "stack", "sub"),
        *("asin", "asinh", "atan", "atanh", "erf", "erf_inv", "expm1", "log1p"),
        *("sin", "sinh", "tan", "tanh", "cbrt", "sqrt", "square"),
        *("ceil", "convert_element_type", "floor", "reduce_precision", "round", "sign"),
    ]
).union(
    name
    for name, primitive in PRIMITIVES.items()
    if primitive.degree in (PRIMITIVES["abs"].degree, PRIMITIVES["gather"].degree)
)
"""Of these all operands whose entries go into the result must be zeros."""


SINGULAR = frozenset(["cbrt", "log", "rsqrt", "sqrt"])
"""Of these the value or the derivative at zero is infinite, or may be."""


class Zeros:
    """Which slices of a group are zero if those of the leaves are.

    Args:
        group: the group.
        nodes: places of it; what their slices come from is looked at, too.
    """

    def __init__(self, group: Group, nodes: Iterable[Node]) -> None:
        self.group = group
        self._nodes = group.ancestors(nodes)
        self._zero = set(self._nodes)
        while gone := {node for node in self._zero if not self._is_made(node)}:
            self._zero -= gone  # In a loop what is made of these goes next.

    def hold(self, nodes: Iterable[Node]) -> bool:
        """Whether the slices at all of these places are zero."""
        return self._zero.issuperset(nodes)

    def are_harmless(self) -> bool:
        """Whether values and derivatives are finite where these slices are zero.

        They are not of ``o / norm(o)`` for the norm of each unit, even if that is
        guarded: the root's derivative is infinite and is multiplied by zero.
        """
        return not any(map(self._is_singular, self._nodes))

    def _is_singular(self, node: Node) -> bool:
        step, _ = self.group.network.made.get(node.number, (None, 0))
        if not isinstance(step, Step):
            return False
        name = step.eqn.primitive.name
        if name in ("integer_pow", "pow"):
            singular = not _exponent(step) >= 1  # Which may be unknown.
        else:
            singular = name == "div" or name in SINGULAR
        return singular and self._zeros(node, step.operands)[name == "div"]

    def _is_made(self, node: Node) -> bool:
        """Whether zeros come out, as far as zeros go in."""
        network = self.group.network
        if node.number in network.leaves:
            return True
        if node.number in network.program.constants:
            return _is_zero(network.program.constants[node.number])
        if node.number not in network.made:
            return False
        step, result = network.made[node.number]
        operands = step.operands
        if isinstance(step, Link):
            return all(self._zeros(node, operands))
        name = step.eqn.primitive.name
        if name in IDENTITIES:
            return all(self._zeros(node, operands[result : result + 1]))
        if name in IF_ANY:
            return any(self._zeros(node, operands))
        if name == "div":
            return self._zeros(node, operands)[0]
        if name in ("integer_pow", "pow"):
            return self._zeros(node, operands)[0] and _exponent(step) > 0
        if name not in IF_ALL:
            return False
        contents = _contents(step)
        if _side_by_side(step.eqn, node):
            inside = {parent.number for parent in self.group.parents[node]}
            contents = tuple(
                each
                for each in contents
                if isinstance(each, int) and network.source(each) in inside
            )
        return all(self._zeros(node, contents))

    def _zeros(self, node: Node, operands: Sequence[Operand]) -> list[bool]:
        """Of each operand whether what goes into these slices is zero."""
        parents, source = self.group.parents[node], self.group.network.source
        found = []
        for operand in operands:
            here: list[Node] = []
            if isinstance(operand, int):
                here = [each for each in parents if each.number == source(operand)]
            found.append(self.hold(here) if here else self._is_nothing(operand))
        return found

    def _is_nothing(self, operand: Operand) -> bool:
        """Whether a value without units is a constant of zeros."""
        network = self.group.network
        if isinstance(operand, int):
            operand = network.source(operand)
            operand = network.program.same.get(operand, operand)
        if isinstance(operand, core.Literal):
            return _is_zero(operand.val)
        if operand in network.program.constants:
            return _is_zero(network.program.constants[operand])
        if operand not in network.made:
            return False
        step, _ = network.made[operand]
        return (
            isinstance(step, Step)
            and step.eqn.primitive.name in IF_ALL
            and all(map(self._is_nothing, _contents(step)))
        )


def _exponent(step: Step) -> float:
    """Of a power; NaN if it is not known."""
    if step.eqn.primitive.name == "integer_pow":
        return step.eqn.params["y"]
    exponent = step.operands[1]
    if isinstance(exponent, core.Literal) and np.ndim(exponent.val) == 0:
        return float(exponent.val)
    return math.nan


def _contents(step: Step) -> tuple[Operand, ...]:
    """The operands whose entries go into the results."""
    primitive = PRIMITIVES.get(step.eqn.primitive.name, UNKNOWN)
    return step.operands[primitive.contents]


def _side_by_side(eqn: core.JaxprEqn, node: Node) -> bool:
    """Whether an equation puts other units beside these."""
    name, axis = eqn.primitive.name, node.spot.along.axis
    return (name == "concatenate" and eqn.params["dimension"] == axis) or (
        name == "pad"
        and all(
            not any(config)
            for other, config in enumerate(eqn.params["padding_config"])
            if other != axis
        )
    )


def _is_zero(value: object) -> bool:
    return not np.any(np.asarray(value))

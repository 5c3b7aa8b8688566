"""A network's jaxpr as the planner walks it, one equation at a time."""

from __future__ import annotations

from collections.abc import Callable
import string
from typing import Any, NamedTuple

import jax
from jax.extend import core
import numpy as np

from swr_optax.planning._paths import named_leaves
from swr_optax.planning.degrees._degrees import Requirement, Value, Walk
from swr_optax.planning.degrees._jaxpr_walk import INNER, run, unstacked

LETTERS = string.ascii_lowercase.replace("x", "")
"""Names for what equations compute; x is the network's input."""


class Step(NamedTuple):
    """One equation of the jaxpr.

    Attributes:
        result: the name given to what it computes.
        equation: its text.
        degree: of the result; one exponent for each leaf.
        requirements: what the equation demands: rows of K.
    """

    result: str
    equation: str
    degree: np.ndarray
    requirements: list[Requirement]


def walk_steps(
    fn: Callable[..., Any], params: Any, x: jax.ShapeDtypeStruct
) -> tuple[Walk, list[Step]]:
    """Walks through a network of no more equations than there are letters.

    Functions within it, such as ReLU, are walked through in their place.

    Args:
        fn: ``fn(params, x)``, without running statistics, loops or branches.
        params: pytree of arrays or shapes.
        x: the inputs' shape.

    Returns:
        The walk when it is done, and its steps.
    """
    leaves = [path for path, _ in named_leaves(params)]
    count = len(leaves)
    walk = Walk(paths=leaves, roles={}, scaled=[True] * count)
    known: dict[core.Var, Value] = {}
    names: dict[core.Var, str] = {}
    steps: list[Step] = []

    def read(atom: core.Var | core.Literal) -> tuple[Value, str]:
        if isinstance(atom, core.Literal):
            return walk.constant(atom.val), f"{atom.val:g}"
        return known[atom], names[atom]

    def bind(var: core.Var, value: Value, name: str) -> None:
        known[var], names[var] = value, name

    def visit(jaxpr: core.Jaxpr) -> None:
        for eqn in jaxpr.eqns:
            if eqn.primitive.name in INNER:
                inner = eqn.params[INNER[eqn.primitive.name]]
                inner = getattr(inner, "jaxpr", inner)
                for var, atom in zip(inner.invars, eqn.invars, strict=True):
                    bind(var, *read(atom))
                visit(inner)
                for var, atom in zip(eqn.outvars, inner.outvars, strict=True):
                    bind(var, *read(atom))
            else:
                steps.append(step(eqn))

    def step(eqn: core.JaxprEqn) -> Step:
        given = [atom for atom in eqn.invars if isinstance(atom, core.Var)]
        alone = jaxpr.replace(invars=given, outvars=eqn.outvars, eqns=[eqn])
        demanded = len(walk.requirements)
        (found,) = run(walk, alone, [known[var] for var in given])
        value = unstacked(walk, found)
        result = LETTERS[len(steps)]
        primitive = eqn.primitive.name
        if "y" in eqn.params:  # The exponent of a power.
            primitive += f"[{eqn.params['y']}]"
        operands = [read(atom)[1] for atom in eqn.invars]
        bind(eqn.outvars[0], value, result)
        return Step(
            result=result,
            equation=" ".join([f"{result} =", primitive, *operands]),
            degree=value.degree,
            requirements=walk.requirements[demanded:],
        )

    jaxpr = jax.make_jaxpr(fn)(params, x).jaxpr
    start = [*walk.leaves, Value(walk.zero, data=True)]
    for var, value, name in zip(jaxpr.invars, start, [*leaves, "x"], strict=True):
        bind(var, value, name)
    visit(jaxpr)
    return walk, steps

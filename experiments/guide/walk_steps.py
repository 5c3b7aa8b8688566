"""A network's jaxpr as the planner walks it, one equation at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import string
from typing import Any, NamedTuple

import jax
from jax.extend import core
import numpy as np

from swr_optax.planning.degrees import (
    INNER,
    Known,
    Requirement,
    Value,
    Walk,
    walk_network,
    whole,
)
from swr_optax.planning.plan._paths import named_leaves

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
    walk = Walk(paths=leaves, roles={}, scaled=[True] * len(leaves))
    steps: list[Step] = []
    # What is known of a value is one object from its equation to its last use.
    names: list[tuple[Known, str]] = []

    def name_of(known: Known, atom: core.Var | core.Literal) -> str:
        if isinstance(atom, core.Literal):
            return f"{atom.val:g}"
        for value, name in names:
            if value is known:
                return name
        made_of = [*known.leaves] if isinstance(known, Value) else []
        return leaves[made_of[0]] if made_of else "x"

    def observe(
        eqn: core.JaxprEqn, operands: Sequence[Known], results: Sequence[Known]
    ) -> None:
        primitive = eqn.primitive.name
        if primitive in INNER:  # Its equations have been seen.
            return
        result = LETTERS[len(steps)]
        texts = [
            name_of(known, atom)
            for known, atom in zip(operands, eqn.invars, strict=True)
        ]
        if "y" in eqn.params:  # The exponent of a power.
            primitive += f"[{eqn.params['y']}]"
        names.append((results[0], result))
        demanded = sum(len(step.requirements) for step in steps)
        steps.append(
            Step(
                result=result,
                equation=" ".join([f"{result} =", primitive, *texts]),
                degree=whole(walk, results[0]).degree,
                requirements=walk.requirements[demanded:],
            )
        )

    jaxpr = jax.make_jaxpr(fn)(params, x)
    walk_network(walk, jaxpr, range(len(leaves)), observe)
    return walk, steps

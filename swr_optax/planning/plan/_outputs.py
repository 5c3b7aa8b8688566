"""What a forward pass returns: outputs, and perhaps updated running statistics."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from swr_optax.planning.plan._paths import named_leaves

SOLE_OUTPUT = "output"
"""Name of the output of a network that returns one array."""


def output_names(returned: Any, stats: Any) -> list[str | None]:
    """Name of each array that ``fn`` returns, in tree order.

    Args:
        returned: what it returns, as arrays or shapes.
        stats: the running statistics that it was given.

    Returns:
        The output's path, or ``"output"`` if there is only one; None for an array
        of the updated statistics, which are a subtree of the structure and shapes
        of ``stats``.
    """
    structure: Any = jax.tree.structure(stats)
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(stats)]

    def is_statistics(node: Any) -> bool:
        return (
            bool(shapes)
            and jax.tree.structure(node) == structure
            and [jnp.shape(leaf) for leaf in jax.tree.leaves(node)] == shapes
        )

    names: list[str | None] = []
    for path, node in named_leaves(returned, is_leaf=is_statistics):
        if is_statistics(node):
            names += [None] * len(shapes)
        else:
            names.append(path)
    if len(names) - names.count(None) == 1:
        return [None if name is None else SOLE_OUTPUT for name in names]
    return names

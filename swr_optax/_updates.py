"""The updates that the optimiser made, one for each parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from swr_optax.planning.plan import Place
from swr_optax.planning.plan._paths import is_masked, named_leaves
from swr_optax.planning.plan._shown import listed


def changes_of(
    updates: optax.Updates,
    params: optax.Params,
    leaves: Sequence[Any],
    places: Sequence[Place],
) -> list[Any]:
    """The update of each parameter, None where there is none.

    Args:
        updates: a tree like the parameters.
        params: the parameters.
        leaves: their arrays.
        places: where the plan has them; what is masked out is not looked at.

    Raises:
        ValueError: if the updates are of another structure, or one of another shape.
        TypeError: if one is no array of numbers that can be added to its parameter.
    """
    structure: Any = jax.tree.structure(params, is_leaf=is_masked)
    try:
        changes = structure.flatten_up_to(updates)
    except ValueError:
        raise ValueError(other_structure(updates, params, "updates")) from None
    for i, (leaf, place, change) in enumerate(
        zip(leaves, places, changes, strict=True)
    ):
        if place is None or change is None:
            continue
        if isinstance(change, (float, complex)) and leaf.ndim == 0:
            changes[i] = change = jnp.asarray(change)
        problem = _problem(change, leaf)
        if problem is not None:
            path = named_leaves(params)[i][0] or "the only parameter"
            raise type(problem)(f"the update of {path} {problem}")
    return changes


def _problem(change: Any, leaf: Any) -> Exception | None:
    """What keeps an update from being added to its parameter."""
    if not hasattr(change, "dtype") or isinstance(change, jax.ShapeDtypeStruct):
        return TypeError(f"must be an array, not {type(change).__name__}")
    if change.shape != leaf.shape:
        return ValueError(f"must have its shape {leaf.shape}, not {change.shape}")
    inexact = jnp.issubdtype(change.dtype, jnp.inexact)
    if not inexact or jnp.iscomplexobj(change) != jnp.iscomplexobj(leaf):
        return TypeError(
            f"is of type {change.dtype}, which cannot be added to its {leaf.dtype}"
        )
    return None


def other_structure(tree: Any, params: optax.Params, name: str) -> str:
    """Says what makes a tree unlike the parameters."""
    given, expected = (
        dict.fromkeys(path for path, _ in named_leaves(each)) for each in (tree, params)
    )
    missing = listed(path for path in expected if path not in given)
    surplus = listed(path for path in given if path not in expected)
    if missing == surplus:
        return f"{name} must be like params, and their containers are of other types"
    return f"{name} must be like params: missing {missing}; surplus {surplus}"

"""What a remedy does to each parameter of a plan, slice by slice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from swr_optax.planning import RescalingPlan
from swr_optax.planning.plan._paths import is_masked


def map_parameters(
    change: Callable[..., jax.Array],
    plan: RescalingPlan,
    params: optax.Params,
    updates: optax.Updates,
    *others: Any,
) -> optax.Updates:
    """The updates that ``change`` makes of each parameter's.

    Args:
        change: takes a parameter's place in the plan, the parameter, its update and
            what the other trees have there, and returns the new update.
        plan: says where each parameter has its place.
        params: the parameters.
        updates: their updates.
        others: further trees of the same structure.

    Returns:
        Updates of the same types as before.  What is masked out, or has None for an
        update, is passed on.
    """
    places = plan.match_params(params)
    leaves = jax.tree.leaves(params, is_leaf=is_masked)
    structure: Any = jax.tree.structure(params, is_leaf=is_masked)

    def changed(place: int | slice | None, leaf: Any, update: Any, *rest: Any) -> Any:
        if place is None or update is None:
            return update
        return change(place, leaf, update, *rest).astype(update.dtype)

    trees = [structure.flatten_up_to(tree) for tree in (updates, *others)]
    return structure.unflatten(map(changed, places, leaves, *trees))


def axes_of_slice(array: jax.Array, place: int | slice) -> tuple[int, ...]:
    """The axes of an array over which one leaf of the plan extends."""
    return tuple(range(isinstance(place, slice), array.ndim))


def are_weights(plan: RescalingPlan) -> np.ndarray:
    """Whether each leaf of the plan is a layer's weight; shape (leaves,)."""
    return np.isin(np.arange(len(plan.leaves)), plan.weights)

"""Resets of the classifier, or of everything, to the initial parameters."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from swr_optax._tree import Tree
from swr_optax.baselines._arguments import check_alike
from swr_optax.planning import RescalingPlan
from swr_optax.planning._arguments import check_plan
from swr_optax.planning.plan._paths import is_masked


def reset_head(params: Tree, initial_params: Tree, plan: RescalingPlan) -> Tree:
    """Puts the classifier back to its initial parameters.

    Of a stacked parameter only the slices that belong to the classifier go back.

    Example:
        >>> import jax.numpy as jnp, swr_optax
        >>> params = {"w1": jnp.ones((4, 8)), "w2": jnp.ones((8, 2))}
        >>> plan = swr_optax.sequential_plan(params, ["w1", "w2"])
        >>> start = {"w1": jnp.zeros((4, 8)), "w2": jnp.zeros((8, 2))}
        >>> head_reset = swr_optax.reset_head(params, start, plan)
        >>> [float(head_reset[name].max()) for name in ("w1", "w2")]
        [1.0, 0.0]

    Args:
        params: the parameters now.
        initial_params: the parameters to which the classifier returns.
        plan: says which parameters belong to the group ``"classifier"``.

    Returns:
        The new parameters.

    Raises:
        ValueError: if the plan has no group ``"classifier"`` or is not for these
            parameters, or if the initial parameters are not like them.
        TypeError: if ``plan`` is no plan.

    References:
        Nikishin et al., `The Primacy Bias in Deep Reinforcement Learning
        <https://arxiv.org/abs/2205.07802>`_, 2022.
    """
    check_plan(plan)
    if "classifier" not in plan.groups:
        raise ValueError(
            f"plan has no group 'classifier', only {list(plan.groups)}: give"
            " plan_rescaling a group_fn that names one"
        )
    check_alike(initial_params, params, "initial_params")
    in_head = np.array([leaf.group == "classifier" for leaf in plan.leaves])
    places = plan.match_params(params)
    leaves = jax.tree.leaves(params, is_leaf=is_masked)
    structure: Any = jax.tree.structure(params, is_leaf=is_masked)
    new_leaves = structure.flatten_up_to(initial_params)

    def reset(place: int | slice | None, old: Any, new: Any) -> Any:
        if place is None:
            return old
        if isinstance(place, int):
            return new if in_head[place] else old
        slices = in_head[place].reshape((-1,) + (1,) * (old.ndim - 1))
        return new if slices.all() else jnp.where(slices, new, old)

    return structure.unflatten(map(reset, places, leaves, new_leaves))


def reset_all(params: Tree, initial_params: Tree) -> Tree:
    """Puts every parameter back to its initial value.

    Args:
        params: the parameters now.
        initial_params: the parameters to which they return.

    Returns:
        The initial parameters, once checked to be of the same structure.

    Raises:
        ValueError: if they are not like the parameters.
    """
    check_alike(initial_params, params, "initial_params")
    return jax.tree.map(lambda _, initial: initial, params, initial_params)

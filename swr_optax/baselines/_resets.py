"""Resets of the classifier, or of everything, to the initial parameters."""

from __future__ import annotations

import jax
import optax

from swr_optax.planning import RescalingPlan


def reset_head(
    params: optax.Params, initial_params: optax.Params, plan: RescalingPlan
) -> optax.Params:
    """Puts the classifier back to its initial parameters.

    Args:
        params: the parameters now.
        initial_params: the parameters to which the classifier returns.
        plan: says which parameters belong to the group ``"classifier"``.

    Returns:
        The new parameters.

    Raises:
        ValueError: if the plan has no group ``"classifier"``.

    References:
        Nikishin et al., `The Primacy Bias in Deep Reinforcement Learning
        <https://arxiv.org/abs/2205.07802>`_, 2022.
    """
    if "classifier" not in plan.groups:
        raise ValueError(
            f"plan has no group 'classifier', only {list(plan.groups)}: give"
            " plan_rescaling a group_fn that names one"
        )
    groups = [
        plan.leaves[place if isinstance(place, int) else place.start].group
        for place in plan.match_params(params)
        if place is not None
    ]
    by_leaf = jax.tree.unflatten(jax.tree.structure(params), groups)
    return jax.tree.map(
        lambda old, new, group: new if group == "classifier" else old,
        params,
        initial_params,
        by_leaf,
    )


def reset_all(params: optax.Params, initial_params: optax.Params) -> optax.Params:
    """Puts every parameter back to its initial value.

    Args:
        params: the parameters now.
        initial_params: the parameters to which they return.

    Returns:
        The initial parameters, once checked to be of the same structure.
    """
    return jax.tree.map(lambda _, initial: initial, params, initial_params)

"""How large a network's weights are, and how much they have grown."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from swr_optax._norms import AxisName, norms_of_weights
from swr_optax.planning import RescalingPlan
from swr_optax.planning._arguments import array_leaves, check_plan


def weight_norms(
    params: Any, plan: RescalingPlan, *, axis_name: AxisName = ()
) -> jax.Array:
    """Frobenius norm of each layer's weight.

    Example:
        >>> import jax.numpy as jnp, swr_optax
        >>> params = {"w": jnp.array([[3.0], [4.0]])}
        >>> plan = swr_optax.plan_rescaling(
        ...     lambda p, x: x @ p["w"], params, jnp.ones((1, 2)))
        >>> print(swr_optax.metrics.weight_norms(params, plan))
        [5.]

    Args:
        params: the parameters that the plan is for.
        plan: says which leaves are weights, and their order.
        axis_name: inside :func:`jax.shard_map` the axes over which weights are split.

    Returns:
        Norms over all entries of each weight, float32 (float64 if a weight is);
        shape (layers,).  Zero for a weight that is masked out.

    Raises:
        ValueError: if the plan is not for these parameters.
        TypeError: if ``plan`` is no plan or a parameter no array.
    """
    check_plan(plan)
    places = plan.match_params(params, split=bool(axis_name))
    leaves = array_leaves(params, "params")
    return norms_of_weights(leaves, places, plan, axis_name=axis_name)


def weight_growth(params: Any, initial_params: Any, plan: RescalingPlan) -> jax.Array:
    """Each weight's norm over its initial norm.

    Args:
        params: the parameters now.
        initial_params: the parameters at initialisation.
        plan: says which leaves are weights, and their order.

    Returns:
        Ratios, shape (layers,); one for a weight that was zero initially.
    """
    initial = weight_norms(initial_params, plan)
    safe = jnp.where(initial > 0, initial, 1.0)
    return jnp.where(initial > 0, weight_norms(params, plan) / safe, 1.0)

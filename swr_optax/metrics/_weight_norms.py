"""How large a network's weights are, and how much they have grown."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from swr_optax.planning._paths import is_masked
from swr_optax.planning._plan import RescalingPlan


def weight_norms(params: optax.Params, plan: RescalingPlan) -> jax.Array:
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

    Returns:
        Norms over all entries of each weight, float32 (float64 if a weight is);
        shape (layers,).  Zero for a weight that is masked out.
    """
    leaves = jax.tree.leaves(params, is_leaf=is_masked)
    return norms_of_weights(leaves, plan.match_params(params), plan)


def weight_growth(
    params: optax.Params, initial_params: optax.Params, plan: RescalingPlan
) -> jax.Array:
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


def norms_of_weights(
    leaves: Sequence[jax.Array | None],
    places: Sequence[int | slice | None],
    plan: RescalingPlan,
) -> jax.Array:
    """Norms of the plan's weights among leaves of which the places are known."""
    weights = set(plan.weights)
    norms: dict[int, jax.Array] = {}
    for leaf, place in zip(leaves, places, strict=True):
        if leaf is None or place is None:
            continue
        if isinstance(place, int):
            if place in weights:
                norms[place] = _frobenius(leaf, leaf.ndim)
        elif not weights.isdisjoint(range(place.start, place.stop)):
            slices = _frobenius(leaf, leaf.ndim - 1)
            norms.update((place.start + i, slices[i]) for i in range(len(slices)))
    dtype = jnp.result_type(jnp.float32, *(norm.dtype for norm in norms.values()))
    zero = jnp.zeros([], dtype)
    return jnp.stack([norms.get(row, zero).astype(dtype) for row in plan.weights])


def _frobenius(array: jax.Array, last_axes: int) -> jax.Array:
    wide = array.astype(jnp.promote_types(array.dtype, jnp.float32))
    axes = tuple(range(array.ndim - last_axes, array.ndim))
    return jnp.sqrt(jnp.sum(jnp.square(jnp.abs(wide)), axis=axes))

"""Scaling a network's leaves by given scalers of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from swr_optax._tree import Tree
from swr_optax.planning._arguments import array_leaves, check_plan
from swr_optax.planning.plan import RescalingPlan
from swr_optax.planning.plan._paths import is_masked

SUMMED_UP_TO = 2**10
"""Entries of a matrix whose product with a vector is one kernel with what uses it."""


def rescale(
    params: Tree, log_scalers: jax.typing.ArrayLike, plan: RescalingPlan
) -> Tree:
    r"""Scales weights by any scalers, and all other leaves so as to follow.

    Leaf :math:`i` is multiplied by :math:`\exp(\sum_l E_{il} \log c_l)`, with E
    the plan's exponents.  If nothing is ``plan.unmet``, the network's outputs
    change by a constant only (theorem 1 of the paper).

    Example:
        >>> import jax.numpy as jnp, swr_optax
        >>> def apply(params, x):
        ...     return (x @ params["w1"] + params["b1"]) @ params["w2"]
        >>> params = {"w1": jnp.ones((4, 8)), "b1": jnp.ones(8), "w2": jnp.ones((8, 2))}
        >>> plan = swr_optax.plan_rescaling(apply, params, jnp.ones((1, 4)))
        >>> doubled = swr_optax.rescale(params, jnp.log(jnp.array([2., 1.])), plan)
        >>> [f"{doubled[name].max():.3f}" for name in ("w1", "b1", "w2")]
        ['2.000', '2.000', '1.000']

    Args:
        params: the parameters that the plan is for.
        log_scalers: log c of the plan's layers, in their order; shape (layers,).
        plan: which leaves follow which weights.

    Returns:
        The scaled parameters, of the same types as before.

    Raises:
        ValueError: if ``log_scalers`` has another shape or the plan is not for
            these parameters.
        TypeError: if ``plan`` is no plan, ``log_scalers`` are no real numbers or a
            parameter is no array.
    """
    check_plan(plan)
    if jnp.shape(log_scalers) != (len(plan.layers),):
        raise ValueError(
            f"log_scalers must have shape ({len(plan.layers)},), one for each of the"
            f" plan's layers, not {jnp.shape(log_scalers)}"
        )
    logs = jnp.asarray(log_scalers)
    if jnp.issubdtype(logs.dtype, jnp.complexfloating):
        raise TypeError(f"log_scalers must be real numbers, not {logs.dtype}")
    logs = logs.astype(jnp.promote_types(logs.dtype, jnp.float32))
    factors = leaf_log_scalers(plan.exponents, logs)
    return scaled(params, plan.match_params(params), factors, plan)


def leaf_log_scalers(exponents: np.ndarray, log_scalers: jax.Array) -> jax.Array:
    """E log c: the logarithm of each leaf's factor; shape (leaves,)."""
    exponents = exponents.astype(log_scalers.dtype)
    if exponents.size <= SUMMED_UP_TO:
        return jnp.sum(exponents * log_scalers, axis=1)
    return jnp.matmul(
        exponents,
        log_scalers,
        precision=jax.lax.Precision.HIGHEST,  # Accelerators would round to bfloat16.
    )


def scaled(
    tree: Any,
    places: Sequence[int | slice | None],
    log_factors: jax.Array,
    plan: RescalingPlan,
) -> Any:
    """The tree with each leaf times the exponential of its place's log factor."""
    leaves = array_leaves(tree, "the tree to rescale")
    structure = jax.tree.structure(tree, is_leaf=is_masked)
    factors = jnp.exp(log_factors)
    return jax.tree.unflatten(
        structure,
        [
            (factor_of(leaf, factors, place) * leaf).astype(leaf.dtype)
            if place is not None and plan.exponents[place].any()
            else leaf
            for place, leaf in zip(places, leaves, strict=True)
        ],
    )


def factor_of(
    leaf: jax.Array, factors: jax.Array | np.ndarray, place: int | slice
) -> Any:
    """The factor of a leaf, shaped so as to reach each slice of a stacked one."""
    found = factors[place]
    return found.reshape(found.shape + (1,) * (leaf.ndim - 1)) if found.ndim else found

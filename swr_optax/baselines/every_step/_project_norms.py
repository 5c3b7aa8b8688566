"""Normalise and project: each hidden weight back to its initial norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from swr_optax._arguments import is_placeholder
from swr_optax._norms import norms_of_weights, widened
from swr_optax.baselines._arguments import check_interval, check_params, zero_count
from swr_optax.baselines._parameters import map_parameters
from swr_optax.planning import Leaf, RescalingPlan
from swr_optax.planning._arguments import check_plan
from swr_optax.planning._rescale import factor_of
from swr_optax.planning.plan._paths import is_masked


class ProjectNormsState(NamedTuple):
    """State of :func:`project_norms`.

    Attributes:
        count: steps taken; int32, scalar.
        reference_norms: Frobenius norm of each layer's weight at ``init``; float32,
            or float64 if a weight is; shape (layers,).
    """

    count: jax.Array  # type: ignore[assignment]
    reference_norms: jax.Array


def project_norms(
    plan: RescalingPlan,
    *,
    every: int = 1,
    leaves: Callable[[Leaf], bool] | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Puts each hidden weight back to the norm that it began with.

    After the optimiser's step, at every N-th one,

    .. math:: W_l \leftarrow \frac{\|W_{0,l}\|}{\|W_l\|} W_l .

    This is the second half of "normalise and project"; the first is the network's:
    a layer normalisation in front of each nonlinearity.  Chain it last, behind the
    optimiser.

    Without those normalisation layers it is projection only, and it changes the
    network's function, since no bias follows its weight: with
    :func:`soft_weight_rescaling` and coefficient 1 they do follow.  The authors
    drop the biases in front of a normalisation layer; any that are there are left
    alone here, as are the scales and shifts of normalisation layers.  Behind
    :func:`soft_weight_rescaling` the projection has the last word on the layers
    that it holds, and there is nothing left to rescale but the others.

    Example:
        >>> import jax.numpy as jnp, optax, swr_optax
        >>> params = {"w1": jnp.ones((4, 4)), "w2": jnp.ones((4, 2))}
        >>> plan = swr_optax.plan_rescaling(
        ...     lambda p, x: x @ p["w1"] @ p["w2"], params, jnp.ones((1, 4)))
        >>> tx = optax.chain(optax.sgd(0.5), swr_optax.project_norms(plan))
        >>> updates, _ = tx.update(params, tx.init(params), params)
        >>> params = optax.apply_updates(params, updates)
        >>> print(swr_optax.metrics.weight_norms(params, plan))  # From 4 and 2.83.
        [4.        1.4142135]

    Args:
        plan: of the network whose parameters these are.
        every: N, how many steps lie between projections; the authors find each step
            and each thousandth alike.
        leaves: which of the plan's weights are held.  By default all that mix inputs
            (so no scale of a normalisation layer) but the last of them, which is the
            output layer; a network with several heads names them here.

    Returns:
        A transformation whose ``update`` needs ``params`` and keeps the types of the
        updates.  Its state is a :class:`ProjectNormsState`.  A weight whose norm or
        initial norm is zero, or not finite, is left alone.

    Raises:
        ValueError: if ``every`` is below 1; in ``update`` without ``params`` or if
            the plan is not for them.
        TypeError: if ``every`` is not a whole number.

    References:
        Lyle et al., `Normalization and effective learning rates in reinforcement
        learning <https://arxiv.org/abs/2407.01800>`_, 2024.
    """
    check_plan(plan)
    check_interval(every, "every")
    mixing = [k for k, layer in enumerate(plan.layers) if layer.input_axes]
    held = np.isin(range(len(plan.layers)), mixing[:-1])
    if leaves is not None:
        held = np.array([leaves(layer) for layer in plan.layers])
    is_held = np.zeros(len(plan.leaves), bool)
    is_held[[*plan.weights]] = held

    def norms_in(
        params: optax.Params,
        changes: list[Any] | None = None,
        near: jax.Array | None = None,
    ) -> jax.Array:
        arrays = jax.tree.leaves(params, is_leaf=is_masked)
        places = plan.match_params(params)
        if changes is not None:
            arrays = [
                None if place is None or change is None else widened(array) + change
                for place, array, change in zip(places, arrays, changes, strict=True)
            ]
        return norms_of_weights(arrays, places, plan, near=near)

    def init_fn(params: optax.Params) -> ProjectNormsState:
        if is_placeholder(params):
            return ProjectNormsState(zero_count(), jnp.zeros(len(plan.layers)))
        return ProjectNormsState(zero_count(), norms_in(params))

    def update_fn(
        updates: optax.Updates,
        state: ProjectNormsState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, ProjectNormsState]:
        del extra_args
        check_params(params, "project_norms")
        structure: Any = jax.tree.structure(params, is_leaf=is_masked)
        changes = structure.flatten_up_to(updates)
        norms = norms_in(params, changes, state.reference_norms)
        references = state.reference_norms.astype(norms.dtype)
        usable = (norms > 0) & (references > 0) & jnp.isfinite(norms + references)
        count = optax.safe_increment(state.count)
        due = usable & held & (count % every == 0)
        less_one = (references - norms) / jnp.where(usable, norms, 1.0)
        excess = jnp.zeros(len(plan.leaves), norms.dtype)
        excess = excess.at[np.array(plan.weights)].set(jnp.where(due, less_one, 0.0))

        def projected(place: int | slice, p: jax.Array, u: jax.Array) -> jax.Array:
            if not is_held[place].any():
                return u
            factor = factor_of(p, excess, place)
            return u + factor * (widened(p) + u)

        new_updates = map_parameters(projected, plan, params, updates)
        return new_updates, ProjectNormsState(count, state.reference_norms)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)

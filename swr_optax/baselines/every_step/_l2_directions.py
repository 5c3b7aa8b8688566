"""L2 Init on the weights' directions alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from swr_optax._norms import widened
from swr_optax.baselines._arguments import (
    Scalar,
    check_number,
    check_params,
    value_at,
    zero_count,
)
from swr_optax.baselines._parameters import (
    are_weights,
    axes_of_slice,
    map_parameters,
)
from swr_optax.planning import RescalingPlan
from swr_optax.planning._arguments import check_plan
from swr_optax.planning._rescale import factor_of


class L2DirectionsState(NamedTuple):
    """State of :func:`l2_directions`.

    Attributes:
        count: steps taken; int32, scalar.
        initial_params: the parameters at ``init``: copies, so that parameters and
            state may both be donated.
    """

    count: jax.Array  # type: ignore[assignment]
    initial_params: optax.Params


def l2_directions(
    coefficient: Scalar, plan: RescalingPlan
) -> optax.GradientTransformationExtraArgs:
    r"""Regularises each weight towards its initial direction, whatever its norm.

    Adds the gradient of

    .. math::
        \frac{\lambda}{2} \sum_l \|W_{0,l}\|^2
        \left\| \frac{W_l}{\|W_l\|} - \frac{W_{0,l}}{\|W_{0,l}\|} \right\|^2
        + \frac{\lambda}{2} \sum_l \|b_l - b_{0,l}\|^2 ,

    which for a weight is

    .. math::
        \lambda \frac{\|W_0\|}{\|W\|} \left(
            \frac{\langle W, W_0 \rangle}{\|W\|^2} W - W_0 \right) .

    That is orthogonal to W, so it leaves the norm to :func:`soft_weight_rescaling`
    behind the optimiser: SWR for the norms, L2 Init for the directions.  On the
    sphere of the initial norm it is the tangential part of what :func:`l2_init`
    adds.  Biases and all else that is no weight have no direction that
    matters alone, and are drawn as :func:`l2_init` draws them.

    Chain it before the optimiser.  What Adam makes of it, entry by entry, is no
    longer orthogonal to the weight.  At the opposite of the initial direction the
    pull is zero.

    Example:
        >>> import jax.numpy as jnp, optax, swr_optax
        >>> params = {"w": jnp.ones((4, 2))}
        >>> plan = swr_optax.plan_rescaling(
        ...     lambda p, x: x @ p["w"], params, jnp.ones((1, 4)))
        >>> tx = optax.chain(
        ...     swr_optax.l2_directions(1e-2, plan),
        ...     optax.adam(1e-3),
        ...     swr_optax.soft_weight_rescaling(1e-3, plan))
        >>> updates, _ = tx.update(params, tx.init(params), params)

    Args:
        coefficient: :math:`\lambda`, not negative; a number, a traced scalar or a
            schedule.
        plan: of the network whose parameters these are: which are weights.

    Returns:
        A transformation whose ``update`` needs ``params`` and keeps the types of the
        updates.  Its state is an :class:`L2DirectionsState`.  A weight that is or
        was zero has no direction and is left alone.

    Raises:
        ValueError: if the coefficient is negative; in ``update`` without ``params``
            or if the plan is not for them.
        TypeError: if the coefficient is no number and no schedule.

    References:
        This library's own; L2 Init is by Kumar, Marklund and Van Roy,
        `Maintaining Plasticity in Continual Learning via Regenerative
        Regularization <https://arxiv.org/abs/2308.11958>`_, 2023.
    """
    check_plan(plan)
    check_number(coefficient, "coefficient", schedule=True)
    weights = are_weights(plan)

    def init_fn(params: optax.Params) -> L2DirectionsState:
        return L2DirectionsState(zero_count(), jax.tree.map(jnp.copy, params))

    def update_fn(
        updates: optax.Updates,
        state: L2DirectionsState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, L2DirectionsState]:
        del extra_args
        check_params(params, "l2_directions")
        weight = value_at(coefficient, state.count)

        def pulled(
            place: int | slice, p: jax.Array, u: jax.Array, p0: jax.Array
        ) -> jax.Array:
            now, start, axes = widened(p), widened(p0), axes_of_slice(p, place)
            turned = _tangential_pull(now, start, axes)
            is_weight = factor_of(p, weights, place)
            return u + weight * jnp.where(is_weight, turned, now - start)

        return (
            map_parameters(pulled, plan, params, updates, state.initial_params),
            L2DirectionsState(optax.safe_increment(state.count), state.initial_params),
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _tangential_pull(
    now: jax.Array, start: jax.Array, axes: tuple[int, ...]
) -> jax.Array:
    """Gradient of half the initial square norm times the directions' distance."""

    def inner(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sum((a * b.conj()).real, axis=axes, keepdims=True)

    square, square0 = inner(now, now), inner(start, start)
    usable = (square > 0) & (square0 > 0)
    square = jnp.where(usable, square, 1.0)
    ratio = jnp.sqrt(jnp.where(usable, square0, 0.0) / square)
    return ratio * (inner(now, start) / square * now - start)

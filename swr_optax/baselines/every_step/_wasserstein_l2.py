"""Wasserstein regularisation towards the distribution of the initial weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from swr_optax._arguments import is_placeholder
from swr_optax.baselines._arguments import (
    Scalar,
    check_number,
    check_params,
    check_real,
    value_at,
    zero_count,
)
from swr_optax.baselines._parameters import map_parameters
from swr_optax.planning import RescalingPlan
from swr_optax.planning._arguments import check_plan


class WassersteinL2State(NamedTuple):
    """State of :func:`wasserstein_l2`.

    Attributes:
        count: steps taken; int32, scalar.
        sorted_initial: the parameters at ``init``, the entries of each leaf of the
            plan in ascending order; of the parameters' structure, shapes and types.
    """

    count: jax.Array  # type: ignore[assignment]
    sorted_initial: optax.Params


def wasserstein_l2(
    coefficient: Scalar, plan: RescalingPlan
) -> optax.GradientTransformationExtraArgs:
    r"""Regularises towards the initial distribution of each layer's parameters.

    Adds the gradient of

    .. math::
        \lambda \sum_l \sum_i \left( \theta_{l,(i)} - \theta_{0,l,(i)} \right)^2

    where (i) is the i-th smallest entry: the squared 2-Wasserstein distance of
    the two sets of values, times their number.  Each parameter may become any of
    the initial values as long as all of them are taken, so it holds less tightly
    than :func:`l2_init`.  The gradient of an entry of rank i is
    :math:`2 \lambda (\theta_{l,(i)} - \theta_{0,l,(i)})`: twice that of
    :func:`l2_init`, whose formula has a half, for parameters in the order they
    began in.  Weights and biases are distributions of their own, and of stacked
    parameters each slice is.

    Chain it before the optimiser.  Each step sorts all parameters, which is slow on
    accelerators.

    Example:
        >>> import jax.numpy as jnp, optax, swr_optax
        >>> params = {"w": jnp.array([[1.0], [2.0]])}
        >>> plan = swr_optax.plan_rescaling(
        ...     lambda p, x: x @ p["w"], params, jnp.ones((1, 2)))
        >>> tx = swr_optax.wasserstein_l2(0.5, plan)
        >>> state = tx.init(params)
        >>> swapped = {"w": jnp.array([[2.0], [1.5]])}
        >>> pull, _ = tx.update({"w": jnp.zeros((2, 1))}, state, swapped)
        >>> print(pull["w"].T)
        [[0.  0.5]]

    Args:
        coefficient: :math:`\lambda`, not negative; a number, a traced scalar or a
            schedule.
        plan: of the network whose parameters these are.

    Returns:
        A transformation whose ``update`` needs ``params`` and keeps the types of the
        updates.  Its state is a :class:`WassersteinL2State`.

    Raises:
        ValueError: if the coefficient is negative; in ``update`` without ``params``
            or if the plan is not for them.
        TypeError: if the coefficient is no number and no schedule; in ``init`` for
            complex parameters.

    References:
        Lewandowski et al., `Directions of Curvature as an Explanation for Loss of
        Plasticity <https://arxiv.org/abs/2312.00246>`_, 2023.
    """
    check_plan(plan)
    check_number(coefficient, "coefficient", schedule=True)

    def init_fn(params: optax.Params) -> WassersteinL2State:
        check_real(params, "wasserstein_l2")
        if is_placeholder(params):
            return WassersteinL2State(zero_count(), params)

        def in_order(place: int | slice, p: jax.Array, _: jax.Array) -> jax.Array:
            return jnp.sort(_entries(p, place)).reshape(p.shape)

        ordered = map_parameters(in_order, plan, params, params)
        return WassersteinL2State(zero_count(), ordered)

    def update_fn(
        updates: optax.Updates,
        state: WassersteinL2State,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, WassersteinL2State]:
        del extra_args
        check_params(params, "wasserstein_l2")
        weight = value_at(coefficient, state.count)

        def pulled(
            place: int | slice, p: jax.Array, u: jax.Array, ordered: jax.Array
        ) -> jax.Array:
            ranks = jnp.argsort(jnp.argsort(_entries(p, place)))
            partners = jnp.take_along_axis(_entries(ordered, place), ranks, axis=-1)
            return u + 2 * weight * (p - partners.reshape(p.shape))

        return (
            map_parameters(pulled, plan, params, updates, state.sorted_initial),
            WassersteinL2State(optax.safe_increment(state.count), state.sorted_initial),
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _entries(array: jax.Array, place: int | slice) -> jax.Array:
    """The entries of each leaf of the plan along the last axis."""
    return array.reshape(*array.shape[: isinstance(place, slice)], -1)

"""L2 regularisation towards the initial parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import optax
from optax._src.base import NO_PARAMS_MSG


class L2InitState(NamedTuple):
    """State of :func:`l2_init`.

    Attributes:
        initial_params: the parameters at ``init``.
    """

    initial_params: optax.Params


def l2_init(
    coefficient: float | jax.Array,
) -> optax.GradientTransformationExtraArgs:
    r"""Regularises towards the initial parameters instead of towards zero.

    Adds the gradient of :math:`\frac{\lambda}{2} \|\theta - \theta_0\|^2`; chain
    it before the optimiser, where :func:`optax.add_decayed_weights` would add
    that of plain L2.

    Example:
        >>> import optax, swr_optax
        >>> tx = optax.chain(swr_optax.l2_init(1e-4), optax.adam(1e-3))

    Args:
        coefficient: :math:`\lambda`, not negative; unchecked where it is traced.

    Returns:
        A transformation whose ``update`` needs ``params``.

    Raises:
        ValueError: if the coefficient is negative.

    References:
        Kumar, Marklund and Van Roy, `Maintaining Plasticity in Continual
        Learning via Regenerative Regularization
        <https://arxiv.org/abs/2308.11958>`_, 2023.
    """
    if not isinstance(coefficient, jax.core.Tracer) and coefficient < 0:
        raise ValueError(f"coefficient must not be negative, not {coefficient:g}")

    def init_fn(params: optax.Params) -> L2InitState:
        return L2InitState(initial_params=params)

    def update_fn(
        updates: optax.Updates,
        state: L2InitState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, L2InitState]:
        del extra_args
        if params is None:
            raise ValueError(NO_PARAMS_MSG)
        pulled = jax.tree.map(
            lambda g, p, p0: g + coefficient * (p - p0),
            updates,
            params,
            state.initial_params,
        )
        return pulled, state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)

"""L2 regularisation towards the initial parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from swr_optax._soft_weight_rescaling import check_scalar


class L2InitState(NamedTuple):
    """State of :func:`l2_init`.

    Attributes:
        initial_params: the parameters at ``init``: copies, so that parameters and
            state may both be donated.
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
        A transformation whose ``update`` needs ``params`` and keeps the types of
        the updates.

    Raises:
        ValueError: if the coefficient is negative; in ``update`` without
            ``params``.
        TypeError: if the coefficient is not a number.

    References:
        Kumar, Marklund and Van Roy, `Maintaining Plasticity in Continual
        Learning via Regenerative Regularization
        <https://arxiv.org/abs/2308.11958>`_, 2023.
    """
    check_scalar(coefficient, "coefficient", "a number from 0 up")
    if not isinstance(coefficient, jax.core.Tracer) and not coefficient >= 0:
        raise ValueError(
            f"coefficient must not be negative, not {float(coefficient):g}"
        )

    def init_fn(params: optax.Params) -> L2InitState:
        return L2InitState(initial_params=jax.tree.map(jnp.copy, params))

    def update_fn(
        updates: optax.Updates,
        state: L2InitState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, L2InitState]:
        del extra_args
        if params is None:
            raise ValueError(
                "l2_init needs the parameters: call update(updates, state, params)"
            )

        def pulled(g: jax.Array, p: jax.Array, p0: jax.Array) -> jax.Array:
            return (g + coefficient * (p - p0)).astype(g.dtype)

        return jax.tree.map(pulled, updates, params, state.initial_params), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)

"""L2 regularisation towards the initial parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from swr_optax.baselines._arguments import check_number, check_params


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
    check_number(coefficient, "coefficient")

    def init_fn(params: optax.Params) -> L2InitState:
        return L2InitState(initial_params=jax.tree.map(jnp.copy, params))

    def update_fn(
        updates: optax.Updates,
        state: L2InitState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, L2InitState]:
        del extra_args
        check_params(params, "l2_init")

        def pulled(p: jax.Array, p0: jax.Array, g: Any) -> Any:
            return None if g is None else (g + coefficient * (p - p0)).astype(g.dtype)

        return jax.tree.map(pulled, params, state.initial_params, updates), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)

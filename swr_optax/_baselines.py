"""Other methods that keep networks plastic, with which SWR is compared.

Each acts on the parameters' distance from their initial values: at every step
(:func:`l2_init`) or when the data change (the others).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import optax
from optax._src.base import NO_PARAMS_MSG

from swr_optax._plan import RescalingPlan


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


def shrink_and_perturb(
    params: optax.Params,
    initial_params: optax.Params,
    coefficient: float | jax.Array,
) -> optax.Params:
    r"""Moves a fraction of the way to other parameters, when the data change.

    :math:`\theta \leftarrow (1 - \lambda) \theta + \lambda \theta_0`.

    Example:
        >>> import jax.numpy as jnp, swr_optax
        >>> print(swr_optax.shrink_and_perturb(jnp.ones(2), jnp.zeros(2), 0.4))
        [0.6 0.6]

    Args:
        params: the parameters now.
        initial_params: parameters at or like those at initialisation.
        coefficient: :math:`\lambda` from 0 (none) to 1 (all the way); unchecked
            where it is traced.

    Returns:
        The new parameters.

    Raises:
        ValueError: if the coefficient is outside [0, 1].

    References:
        Ash and Adams, `On Warm-Starting Neural Network Training
        <https://arxiv.org/abs/1910.08475>`_, 2020; with the initial parameters
        as the perturbation, as in the paper on SWR.
    """
    if not isinstance(coefficient, jax.core.Tracer) and not 0 <= coefficient <= 1:
        raise ValueError(f"coefficient must be from 0 to 1, not {coefficient:g}")
    return jax.tree.map(
        lambda p, p0: (1 - coefficient) * p + coefficient * p0, params, initial_params
    )


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

"""Weight clipping: no weight may leave the interval it was drawn from."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from swr_optax.baselines._arguments import check_number, check_params, check_real
from swr_optax.baselines._parameters import map_parameters
from swr_optax.planning import RescalingPlan
from swr_optax.planning._arguments import check_plan
from swr_optax.planning._rescale import factor_of


def weight_clipping(
    plan: RescalingPlan, kappa: float | jax.Array = 1.0
) -> optax.GradientTransformationExtraArgs:
    r"""Clips weights and biases to a multiple of their initial range.

    After the optimiser's step, with :math:`d_l` the fan-in of layer l,

    .. math::
        W_l &\leftarrow \operatorname{clip}(W_l, \pm \kappa / \sqrt{d_l}) \\
        b_l &\leftarrow \operatorname{clip}(b_l, \pm \kappa / \sqrt{d_l})

    Chain it last, behind the optimiser.

    The bound is the interval from which PyTorch draws by default, so with
    :math:`\kappa = 1` another initialisation may already lie outside: LeCun's and
    He's normal ones do, and the first step then clips them.  The scale of a
    normalisation layer has fan-in one, and it and the shift behind it the bound
    :math:`\kappa`; the authors' code gives them that of the weight in front.  An
    embedding has the number of its rows for a fan-in, and a weight whose axes the
    plan cannot follow has one.  Parameters may exceed the bound by a rounding error.

    Example:
        >>> import jax.numpy as jnp, optax, swr_optax
        >>> params = {"w": jnp.ones((4, 2)), "b": jnp.ones(2)}
        >>> plan = swr_optax.plan_rescaling(
        ...     lambda p, x: x @ p["w"] + p["b"], params, jnp.ones((1, 4)))
        >>> tx = optax.chain(optax.sgd(0.1), swr_optax.weight_clipping(plan))
        >>> updates, _ = tx.update(params, tx.init(params), params)
        >>> print(optax.apply_updates(params, updates)["b"])
        [0.5 0.5]

    Args:
        plan: of the network whose parameters these are: which parameters are
            weights, of what fan-in, and whose bias is whose.
        kappa: :math:`\kappa`, not negative; a number or a traced scalar.  The
            authors search 1 to 5.

    Returns:
        A transformation without state whose ``update`` needs ``params`` and keeps
        the types of the updates.  Parameters that the plan leaves alone, or that
        belong to no layer, pass.

    Raises:
        ValueError: if ``kappa`` is negative; in ``update`` without ``params`` or if
            the plan is not for them.
        TypeError: if ``kappa`` is not a number; in ``update`` for complex parameters.

    References:
        Elsayed, Lan, Lyle and Mahmood, `Weight Clipping for Deep Continual and
        Reinforcement Learning <https://arxiv.org/abs/2407.01704>`_, 2024.
    """
    check_plan(plan)
    check_number(kappa, "kappa")
    own = [leaf.role in ("weight", "shift") and leaf.layer >= 0 for leaf in plan.leaves]
    fan_in = [
        plan.layers[leaf.layer].fan_in if bounded else 1
        for leaf, bounded in zip(plan.leaves, own, strict=True)
    ]
    unit = np.where(own, 1 / np.sqrt(fan_in), np.inf)

    def update_fn(
        updates: optax.Updates,
        state: optax.EmptyState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.EmptyState]:
        del extra_args
        check_params(params, "weight_clipping")
        check_real(params, "weight_clipping")

        def clipped(place: int | slice, p: jax.Array, u: jax.Array) -> jax.Array:
            if np.isinf(unit[place]).all():
                return u
            units = factor_of(p, unit, place)
            bound = jnp.where(jnp.isinf(units), jnp.inf, kappa * units)
            new = p + u
            return jnp.where(jnp.abs(new) > bound, jnp.clip(new, -bound, bound) - p, u)

        return map_parameters(clipped, plan, params, updates), state

    return optax.GradientTransformationExtraArgs(
        lambda _: optax.EmptyState(), update_fn
    )

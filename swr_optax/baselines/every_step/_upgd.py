"""Utility-based perturbed gradient descent, weight by weight."""

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
    check_real,
    own_key,
    value_at,
    zero_count,
)
from swr_optax.planning.plan._paths import is_masked


class UPGDState(NamedTuple):
    """State of :func:`upgd`.

    Attributes:
        count: steps taken; int32, scalar.
        utilities: running average of each weight's utility, of the structure and
            shapes of the parameters; float32, or float64 where those are.
        key: from which the next step draws.
    """

    count: jax.Array  # type: ignore[assignment]
    utilities: optax.Params
    key: jax.Array


def upgd(
    learning_rate: Scalar = 0.01,
    *,
    beta_utility: float | jax.Array = 0.9999,
    sigma: Scalar = 0.1,
    weight_decay: Scalar = 0.01,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Perturbs useless weights and spares useful ones (UPGD-W).

    With g the gradient, :math:`\xi \sim N(0, \sigma^2)`, the utility of a weight
    the loss that its removal would cost to first order, and the maximum that over
    all weights of the network,

    .. math::
        U &\leftarrow \beta U + (1 - \beta) (-g \cdot w) \\
        \bar U &= \operatorname{sigmoid}(U / \max U) \\
        w &\leftarrow (1 - \eta \lambda) w - \eta (g + \xi) (1 - \bar U)

    The authors correct U for its start at zero, which leaves the quotient as it is
    once both of its terms are corrected.  Their code corrects the numerator alone,
    so that during the first :math:`1 / (1 - \beta)` steps its sigmoids are sharper;
    and the version that they print for reuse takes a step of :math:`2 \eta`.

    It is an optimiser, to be used in place of another, and it takes the gradients
    themselves.  A weight of average utility is stepped by half the learning rate.
    If no weight has a positive utility, the quotient changes its sign, in their
    code as here.

    Example:
        >>> import jax.numpy as jnp, optax, swr_optax
        >>> params = {"w": jnp.ones((4, 2))}
        >>> tx = swr_optax.upgd(0.01, sigma=0.001)
        >>> updates, _ = tx.update(params, tx.init(params), params)

    Args:
        learning_rate: :math:`\eta`, not negative; a number, a traced scalar or a
            schedule.  The defaults are what the authors settle on for
            input-permuted MNIST; elsewhere they take less noise, down to
            ``sigma=0.001`` and ``beta_utility=0.9`` without weight decay.
        beta_utility: :math:`\beta`, from 0 to 1; a number or a traced scalar.
        sigma: standard deviation of the noise, not negative; also a schedule.
        weight_decay: :math:`\lambda`, not negative; also a schedule.
        key: seed or key of the noise.

    Returns:
        A transformation whose ``update`` needs ``params`` and keeps the types of the
        updates.  Its state is a :class:`UPGDState`.

    Raises:
        ValueError: if an argument is out of its range; in ``update`` without
            ``params``.
        TypeError: if an argument is no number and no schedule; in ``init`` for
            complex parameters.

    References:
        Elsayed and Mahmood, `Addressing Loss of Plasticity and Catastrophic
        Forgetting in Continual Learning <https://arxiv.org/abs/2404.00781>`_, 2024.
    """
    check_number(learning_rate, "learning_rate", schedule=True)
    check_number(beta_utility, "beta_utility", most=1)
    check_number(sigma, "sigma", schedule=True)
    check_number(weight_decay, "weight_decay", schedule=True)

    def init_fn(params: optax.Params) -> UPGDState:
        check_real(params, "upgd")
        zeros = jax.tree.map(lambda p: jnp.zeros_like(widened(p)), params)
        return UPGDState(zero_count(), zeros, own_key(key))

    def update_fn(
        updates: optax.Updates,
        state: UPGDState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, UPGDState]:
        del extra_args
        check_params(params, "upgd")
        eta, deviation, decay = (
            value_at(value, state.count)
            for value in (learning_rate, sigma, weight_decay)
        )

        def averaged(p: Any, g: Any, u: Any) -> Any:
            if is_masked(p) or g is None:
                return u
            new = beta_utility * u - (1 - beta_utility) * widened(g) * p
            return new.astype(u.dtype)

        utilities = jax.tree.map(
            averaged, params, updates, state.utilities, is_leaf=is_masked
        )
        arrays = jax.tree.leaves(utilities)
        tops = [jnp.max(u, initial=-jnp.inf) for u in arrays]
        largest = jnp.stack(tops).max() if tops else 1.0
        scale = jnp.where(largest == 0, 1.0, largest)
        carried, drawn = jax.random.split(state.key)
        structure: Any = jax.tree.structure(params, is_leaf=is_masked)
        keys = structure.unflatten(jax.random.split(drawn, structure.num_leaves))

        def step(p: Any, g: Any, u: Any, own: jax.Array) -> Any:
            if is_masked(p) or g is None:
                return g
            noise = deviation * jax.random.normal(own, u.shape, u.dtype)
            spared = 1 - jax.nn.sigmoid(u / scale)
            return (-eta * (decay * p + (g + noise) * spared)).astype(g.dtype)

        new_updates = jax.tree.map(
            step, params, updates, utilities, keys, is_leaf=is_masked
        )
        return new_updates, UPGDState(
            optax.safe_increment(state.count), utilities, carried
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)

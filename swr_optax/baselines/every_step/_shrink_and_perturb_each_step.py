"""Shrink and perturb at every step: a little of a fresh initialisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from swr_optax._norms import widened
from swr_optax.baselines._arguments import (
    Scalar,
    check_fresh,
    check_number,
    check_params,
    own_key,
    value_at,
    zero_count,
)
from swr_optax.planning._arguments import check_function
from swr_optax.planning.plan._paths import is_masked


class ShrinkAndPerturbEachStepState(NamedTuple):
    """State of :func:`shrink_and_perturb_each_step`.

    Attributes:
        count: steps taken; int32, scalar.
        key: from which the next step draws.
    """

    count: jax.Array  # type: ignore[assignment]
    key: jax.Array


def shrink_and_perturb_each_step(
    shrink: Scalar,
    perturb: Scalar,
    init_fn: Callable[[jax.Array], optax.Params],
    *,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Shrinks the parameters and adds a fraction of fresh ones at every step.

    After the optimiser's step, with :math:`\theta_t` drawn anew,

    .. math:: \theta \leftarrow (1 - s) \theta + \sigma \theta_t .

    Chain it behind the optimiser.  :func:`shrink_and_perturb` does the like once,
    when the data change, and has one coefficient for both; of the published
    variants this is that of Kumar et al.  Every step draws as many random numbers
    as there are parameters.  What is initialised to a constant is moved by it:
    the scale of a normalisation layer settles at :math:`\sigma / s`.

    Example:
        >>> import jax, jax.numpy as jnp, optax, swr_optax
        >>> def fresh(key):
        ...     return {"w": jax.random.normal(key, (4, 2)) / 2}
        >>> params = fresh(jax.random.key(0))
        >>> tx = optax.chain(
        ...     optax.adam(1e-3),
        ...     swr_optax.shrink_and_perturb_each_step(1e-4, 1e-2, fresh))
        >>> updates, _ = tx.update(params, tx.init(params), params)

    Args:
        shrink: s, from 0 to 1; a number, a traced scalar or a schedule.  Kumar et
            al. find 1e-3 the best for permuted MNIST and 1e-4 elsewhere.
        perturb: :math:`\sigma`, not negative; of the same types.  They find 1e-2.
        init_fn: makes fresh parameters of a key; jittable.
        key: seed or key of what is drawn.

    Returns:
        A transformation whose ``update`` needs ``params`` and keeps the types of the
        updates.  Its state is a :class:`ShrinkAndPerturbEachStepState`.

    Raises:
        ValueError: if a coefficient is out of its range; in ``init`` if ``init_fn``
            makes other parameters; in ``update`` without ``params``.
        TypeError: if a coefficient is no number and no schedule, or ``init_fn`` no
            function.

    References:
        Kumar, Marklund and Van Roy, `Maintaining Plasticity in Continual
        Learning via Regenerative Regularization
        <https://arxiv.org/abs/2308.11958>`_, 2023, after Ash and Adams.
    """
    check_number(shrink, "shrink", most=1, schedule=True)
    check_number(perturb, "perturb", schedule=True)
    check_function(init_fn, "init_fn", "a function that makes parameters of a key")

    def start(params: optax.Params) -> ShrinkAndPerturbEachStepState:
        check_fresh(init_fn, own_key(key), params)
        return ShrinkAndPerturbEachStepState(zero_count(), own_key(key))

    def update_fn(
        updates: optax.Updates,
        state: ShrinkAndPerturbEachStepState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, ShrinkAndPerturbEachStepState]:
        del extra_args
        check_params(params, "shrink_and_perturb_each_step")
        carried, drawn = jax.random.split(state.key)
        s = value_at(shrink, state.count)
        sigma = value_at(perturb, state.count)

        def moved(p: Any, u: Any, fresh: Any) -> Any:
            if is_masked(p) or u is None:
                return u
            return ((1 - s) * u - s * widened(p) + sigma * fresh).astype(u.dtype)

        new_updates = jax.tree.map(
            moved, params, updates, init_fn(drawn), is_leaf=is_masked
        )
        return new_updates, ShrinkAndPerturbEachStepState(
            optax.safe_increment(state.count), carried
        )

    return optax.GradientTransformationExtraArgs(start, update_fn)

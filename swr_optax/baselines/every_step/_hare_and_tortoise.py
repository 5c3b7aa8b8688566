"""Hare and Tortoise: fast weights that return to their slow average."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from swr_optax._norms import widened
from swr_optax.baselines._arguments import (
    check_interval,
    check_number,
    check_params,
    zero_count,
)
from swr_optax.planning.plan._paths import is_masked


class HareAndTortoiseState(NamedTuple):
    """State of :func:`hare_and_tortoise`.

    Attributes:
        count: steps taken; int32, scalar.
        tortoise: the slow parameters, of the structure and shapes of the parameters;
            float32, or float64 where those are.
    """

    count: jax.Array  # type: ignore[assignment]
    tortoise: optax.Params


def hare_and_tortoise(
    every: int, decay: float | jax.Array = 0.999
) -> optax.GradientTransformationExtraArgs:
    r"""Averages the parameters and sends them back to their average.

    After each step of the optimiser, with :math:`\theta` the parameters (the hare)
    and :math:`\phi` their slow average (the tortoise),

    .. math::
        \phi &\leftarrow d \, \phi + (1 - d) \, \theta \\
        \theta &\leftarrow \phi \quad \text{at every N-th step}

    Chain it last.  What is evaluated is the tortoise: :func:`tortoise_params`.

    BatchNorm's running statistics are no parameters and so neither averaged nor
    sent back, as the authors do: average them in the same way, or measure them anew
    for the tortoise.  The optimiser's moments stay, as theirs do.  In their code the
    hare shares the tortoise's memory for one step after it was sent back; here the
    two are copies.

    Example:
        >>> import jax.numpy as jnp, optax, swr_optax
        >>> params = {"w": jnp.ones(2)}
        >>> tx = optax.chain(optax.sgd(1.0), swr_optax.hare_and_tortoise(2, 0.5))
        >>> state = tx.init(params)
        >>> for _ in range(2):
        ...     updates, state = tx.update({"w": jnp.ones(2)}, state, params)
        ...     params = optax.apply_updates(params, updates)
        >>> print(params["w"], swr_optax.tortoise_params(state)["w"])
        [-0.25 -0.25] [-0.25 -0.25]

    Args:
        every: N, the steps between two returns; the authors take ten epochs.
        decay: d, from 0 to 1; a number or a traced scalar.

    Returns:
        A transformation whose ``update`` needs ``params`` and keeps the types of the
        updates.  Its state is a :class:`HareAndTortoiseState`.

    Raises:
        ValueError: if ``every`` is below 1 or ``decay`` outside [0, 1]; in
            ``update`` without ``params``.
        TypeError: if one is of another type.

    References:
        Lee et al., `Slow and Steady Wins the Race: Maintaining Plasticity with
        Hare and Tortoise Networks <https://arxiv.org/abs/2406.02596>`_, 2024.
    """
    check_interval(every, "every")
    check_number(decay, "decay", most=1)

    def init_fn(params: optax.Params) -> HareAndTortoiseState:
        copies = jax.tree.map(lambda p: jnp.array(widened(p), copy=True), params)
        return HareAndTortoiseState(zero_count(), copies)

    def update_fn(
        updates: optax.Updates,
        state: HareAndTortoiseState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, HareAndTortoiseState]:
        del extra_args
        check_params(params, "hare_and_tortoise")
        count = optax.safe_increment(state.count)

        def slower(p: Any, u: Any, slow: Any) -> Any:
            if is_masked(p):
                return slow
            step = 0 if u is None else u
            new = slow + (1 - decay) * (widened(p) + step - slow)
            return new.astype(slow.dtype)

        def sent_back(p: Any, u: Any, slow: Any) -> Any:
            if is_masked(p) or u is None:
                return u
            return jnp.where(count % every == 0, slow - p, u).astype(u.dtype)

        tortoise = jax.tree.map(
            slower, params, updates, state.tortoise, is_leaf=is_masked
        )
        new_updates = jax.tree.map(
            sent_back, params, updates, tortoise, is_leaf=is_masked
        )
        return new_updates, HareAndTortoiseState(count, tortoise)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def tortoise_params(opt_state: Any) -> Any:
    """The slow parameters, for evaluation.

    Args:
        opt_state: of any chain or wrapper around one :func:`hare_and_tortoise`.

    Returns:
        The parameters of the tortoise, in at least float32.

    Raises:
        ValueError: if ``opt_state`` holds no :class:`HareAndTortoiseState`, or more
            than one.
    """

    def is_pair(node: Any) -> bool:
        return isinstance(node, HareAndTortoiseState)

    found = [x for x in jax.tree.leaves(opt_state, is_leaf=is_pair) if is_pair(x)]
    if len(found) != 1:
        raise ValueError(
            f"opt_state holds {len(found) or 'no'} HareAndTortoiseState, not one:"
            " chain hare_and_tortoise once"
        )
    return found[0].tortoise

"""Self-normalised resets: a unit goes when it is silent for longer than is like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from swr_optax.baselines._arguments import (
    check_fresh,
    check_interval,
    check_number,
    check_params,
    own_key,
    zero_count,
)
from swr_optax.baselines.units._resetting import (
    Step,
    check_activations,
    check_given,
    reset_units,
)
from swr_optax.planning import RescalingPlan


class SelfNormalizedResetsState(NamedTuple):
    """State of :func:`self_normalized_resets`, an array for each layer of units.

    Attributes:
        count: steps taken; int32, scalar.
        key: from which the next step draws.
        silences: steps since each unit last fired; int32, shape (units,).
        histograms: how often each unit was silent for 0, 1, ... steps before it
            fired or was reset; int32, shape (units, longest + 1).
        limits: the silence at which each unit is reset; shape (units,).
        inner_state: of the optimiser.
    """

    count: jax.Array  # type: ignore[assignment]
    key: jax.Array
    silences: tuple[jax.Array, ...]
    histograms: tuple[jax.Array, ...]
    limits: tuple[jax.Array, ...]
    inner_state: optax.OptState


def self_normalized_resets(
    inner: optax.GradientTransformation,
    plan: RescalingPlan,
    init_fn: Callable[[jax.Array], optax.Params],
    *,
    eta: float | jax.Array = 0.02,
    period: int = 1000,
    first_limit: float | jax.Array = 100,
    expansion: float | jax.Array = 2.0,
    longest: int = 1000,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Resets units that are silent for longer than they usually are.

    A unit fires in a step if it is above zero anywhere in the batch.  It is reset
    when the steps since it last fired reach its own limit; ideally that is the
    quantile :math:`1 - \eta` of its own silences.  As in the authors' code, each
    unit keeps a histogram of how long it was silent whenever it fired or was reset,
    and every ``period`` steps

    .. math::
        q = \min \{ a \ge 1 : F(a) \ge 1 - \eta \}, \qquad
        \tau \leftarrow q \text{ if } q < \tau, \text{ else } \kappa \tau,
        \qquad 1 \le \tau \le \text{longest},

    with F the distribution of the silences of one step and more, 1 if there were
    none, after which the histogram is empty again.

    A unit that is reset gets new incoming weights and scales, its shifts and
    outgoing weights become zero, and the optimiser's moments of these begin anew.

    The authors count examples where this counts steps: their numbers are these times
    the batch size, which is the least limit there.  Their code makes new limits at
    the end of tasks, and a new unit takes the weights that it draws from units of the
    layer before that are reset in the same step, where here they are zero.  Meant for
    activations that are zero when they are silent, as those of ReLU.

    Example:
        >>> import optax, swr_optax
        >>> def optimiser(plan, fresh):  # As in `redo`.
        ...     return swr_optax.self_normalized_resets(optax.adam(1e-3), plan, fresh)

    Args:
        inner: the optimiser whose step comes first.
        plan: made by :func:`swr_optax.plan_rescaling`; see :func:`redo`.
        init_fn: makes fresh parameters of a key; jittable.
        eta: :math:`\eta`, from 0 to 1; may be traced.
        period: steps from one change of the limits to the next.
        first_limit: of all units at the start, in steps; may be traced.
        expansion: :math:`\kappa`; may be traced.
        longest: the largest limit, in steps; the state grows with it.
        key: seed or key of what is drawn.

    Returns:
        A transformation whose ``update`` needs ``params`` and ``activations``, as
        :func:`swr_optax.with_activations` returns them for the batch of the step.
        Its state is a :class:`SelfNormalizedResetsState`.

    Raises:
        ValueError: if a number is out of its range; if the plan has
            no hidden units; in ``init`` if ``init_fn`` makes other parameters; in
            ``update`` without parameters or activations.
        TypeError: if a coefficient is no number.

    References:
        Farias and Jozefiak, `Self-Normalized Resets for Plasticity in Continual
        Learning <https://arxiv.org/abs/2410.20098>`_, 2024.
    """
    inner = check_given(inner, plan, init_fn, "self_normalized_resets")
    check_number(eta, "eta", most=1)
    check_interval(period, "period")
    check_number(first_limit, "first_limit")
    check_number(expansion, "expansion")
    check_interval(longest, "longest")

    def start(params: optax.Params) -> SelfNormalizedResetsState:
        check_fresh(init_fn, own_key(key), params)
        counts = [units.count for units in plan.units]
        return SelfNormalizedResetsState(
            count=zero_count(),
            key=own_key(key),
            silences=tuple(jnp.zeros(n, jnp.int32) for n in counts),
            histograms=tuple(jnp.zeros((n, longest + 1), jnp.int32) for n in counts),
            limits=tuple(
                jnp.minimum(first_limit, longest) * jnp.ones(n) for n in counts
            ),
            inner_state=inner.init(params),
        )

    def update_fn(
        updates: optax.Updates,
        state: SelfNormalizedResetsState,
        params: optax.Params | None = None,
        *,
        activations: Any = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, SelfNormalizedResetsState]:
        check_params(params, "self_normalized_resets")
        check_activations(activations, plan, "self_normalized_resets")
        extra_args["activations"] = activations
        step = Step(*inner.update(updates, state.inner_state, params, **extra_args))
        carried, drawn = jax.random.split(state.key)
        count = optax.safe_increment(state.count)
        masks, silences, histograms, limits = [], [], [], []
        for k, activation in enumerate(activations):
            fired = jnp.any(activation > 0, axis=range(activation.ndim - 1))
            before = state.silences[k]
            histogram = _counted(state.histograms[k], before, fired)
            silence = jnp.where(fired, 0, before + 1)
            mask = silence >= state.limits[k]
            histogram = _counted(histogram, silence, mask)
            new_limit = jnp.where(
                count % period == 0,
                _new_limit(histogram, state.limits[k], eta, expansion),
                state.limits[k],
            )
            masks.append(mask)
            silences.append(jnp.where(mask, 0, silence))
            histograms.append(jnp.where(count % period == 0, 0, histogram))
            limits.append(new_limit)
        step = reset_units(step, masks, params, plan, inner, init_fn, drawn)
        return step.updates, SelfNormalizedResetsState(
            count,
            carried,
            tuple(silences),
            tuple(histograms),
            tuple(limits),
            step.state,
        )

    return optax.GradientTransformationExtraArgs(start, update_fn)


def _counted(histogram: jax.Array, silence: jax.Array, ended: jax.Array) -> jax.Array:
    """The histograms with one silence more of each unit whose silence ended."""
    units = jnp.arange(len(silence))
    last = histogram.shape[1] - 1
    return histogram.at[units, jnp.minimum(silence, last)].add(ended.astype(jnp.int32))


def _new_limit(
    histogram: jax.Array,
    limit: jax.Array,
    eta: float | jax.Array,
    expansion: float | jax.Array,
) -> jax.Array:
    """Down to the quantile, or up by a factor if that is not below."""
    longer = histogram[:, 1:]
    total = longer.sum(1, keepdims=True)
    share = jnp.where(total > 0, jnp.cumsum(longer, 1) / jnp.maximum(total, 1), 1.0)
    quantile = jnp.argmax(share >= 1 - eta, axis=1) + 1
    moved = jnp.where(quantile < limit, quantile, expansion * limit)
    return jnp.clip(moved, 1, histogram.shape[1] - 1).astype(limit.dtype)

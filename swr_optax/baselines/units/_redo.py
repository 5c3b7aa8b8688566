"""ReDo: dormant units are recycled every so often."""

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
    mean_magnitude,
    reset_units,
)
from swr_optax.planning import RescalingPlan


class ReDoState(NamedTuple):
    """State of :func:`redo`.

    Attributes:
        count: steps taken; int32, scalar.
        key: from which the next step draws.
        inner_state: of the optimiser.
    """

    count: jax.Array  # type: ignore[assignment]
    key: jax.Array
    inner_state: optax.OptState


def redo(
    inner: optax.GradientTransformation,
    plan: RescalingPlan,
    init_fn: Callable[[jax.Array], optax.Params],
    *,
    period: int = 1000,
    threshold: float | jax.Array = 0.1,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Recycles dormant units every so many steps of an optimiser.

    The score of unit i of a layer is its mean magnitude over the batch (and over
    positions) as a share of the layer's,

    .. math::
        s_i = \frac{\mathbb{E} |h_i|}{\frac{1}{n} \sum_k \mathbb{E} |h_k| + 10^{-9}},

    and a unit with :math:`s_i \le \tau` is dormant.  Its incoming weights and scales
    are drawn anew, its shifts and outgoing weights become zero, and the optimiser's
    moments of all these begin anew.

    The authors' code does the same and differs in this: it draws incoming weights
    from Xavier's uniform distribution, keeps the moments of biases, and knows no
    normalisation layers.

    Example:
        >>> import jax, jax.numpy as jnp, optax, swr_optax
        >>> def fresh(key):
        ...     keys = jax.random.split(key)
        ...     return {"w1": jax.random.normal(keys[0], (4, 8)) / 2,
        ...             "w2": jax.random.normal(keys[1], (8, 2)) / 3}
        >>> def fn(params, x):
        ...     return jax.nn.relu(x @ params["w1"]) @ params["w2"]
        >>> params, x = fresh(jax.random.key(0)), jnp.ones((3, 4))
        >>> plan = swr_optax.plan_rescaling(fn, params, x)
        >>> tx = optax.chain(
        ...     swr_optax.redo(optax.adam(1e-3), plan, fresh, period=100),
        ...     swr_optax.soft_weight_rescaling(1e-3, plan))
        >>> def loss(params, x):
        ...     outputs, activations = swr_optax.with_activations(fn, plan)(params, x)
        ...     return (outputs**2).mean(), activations
        >>> grads, activations = jax.grad(loss, has_aux=True)(params, x)
        >>> updates, state = tx.update(
        ...     grads, tx.init(params), params, activations=activations)

    Args:
        inner: the optimiser whose step comes first.
        plan: made by :func:`swr_optax.plan_rescaling`; all of ``plan.units`` are
            watched.  For fewer of them give a ``dataclasses.replace(plan, units=...)``
            here and to :func:`swr_optax.with_activations`.
        init_fn: makes fresh parameters of a key; jittable.
        period: steps from one recycling to the next; none at the first step.
        threshold: :math:`\tau`, not negative; may be traced.  The paper has 0.1 and
            the defaults of its code 0.
        key: seed or key of what is drawn.

    Returns:
        A transformation whose ``update`` needs ``params`` and ``activations``, as
        :func:`swr_optax.with_activations` returns them for the batch of the step.
        Its state is a :class:`ReDoState`.

    Raises:
        ValueError: if ``period`` is below 1 or ``threshold`` negative; if the plan has
            no hidden units; in ``init`` if ``init_fn`` makes other parameters; in
            ``update`` without parameters or activations.
        TypeError: if one of them is of another type.

    References:
        Sokar, Agarwal, Castro and Evci, `The Dormant Neuron Phenomenon in Deep
        Reinforcement Learning <https://arxiv.org/abs/2302.12902>`_, 2023.
    """
    inner = check_given(inner, plan, init_fn, "redo")
    check_interval(period, "period")
    check_number(threshold, "threshold")

    def start(params: optax.Params) -> ReDoState:
        check_fresh(init_fn, own_key(key), params)
        return ReDoState(zero_count(), own_key(key), inner.init(params))

    def update_fn(
        updates: optax.Updates,
        state: ReDoState,
        params: optax.Params | None = None,
        *,
        activations: Any = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, ReDoState]:
        check_params(params, "redo")
        check_activations(activations, plan, "redo")
        extra_args["activations"] = activations
        step = Step(*inner.update(updates, state.inner_state, params, **extra_args))
        carried, drawn = jax.random.split(state.key)
        now = (state.count > 0) & (state.count % period == 0)
        masks = [
            now & (dormancy_scores(activation) <= threshold)
            for activation in activations
        ]
        step = reset_units(step, masks, params, plan, inner, init_fn, drawn)
        return step.updates, ReDoState(
            optax.safe_increment(state.count), carried, step.state
        )

    return optax.GradientTransformationExtraArgs(start, update_fn)


def dormancy_scores(activation: jax.Array) -> jax.Array:
    """Mean |h| of each unit over the mean of its layer's; shape (units,)."""
    magnitude = mean_magnitude(activation)
    return magnitude / (jnp.mean(magnitude) + 1e-9)

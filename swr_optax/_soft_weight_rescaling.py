"""Soft Weight Rescaling as an Optax gradient transformation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax._src.base import NO_PARAMS_MSG

from swr_optax.metrics._weight_norms import norms_of_weights, weight_norms
from swr_optax.planning._paths import is_masked
from swr_optax.planning._plan import RescalingPlan
from swr_optax.planning._rescale import factor_of, leaf_log_scalers, scaled

Coefficient: TypeAlias = jax.typing.ArrayLike | optax.Schedule
"""A number from 0 to 1, or a schedule: a function from step to such a number."""


class SoftWeightRescalingState(NamedTuple):
    """State of :func:`soft_weight_rescaling`.

    Attributes:
        count: steps taken; int32, scalar.
        reference_norms: Frobenius norm to which each layer's weight is drawn,
            its norm at ``init``; shape (layers,).
        log_scalers: log c of the last step; shape (layers,).
    """

    count: jax.Array  # type: ignore[assignment]
    reference_norms: jax.Array
    log_scalers: jax.Array


def soft_weight_rescaling(
    coefficient: Coefficient | Mapping[str, Coefficient],
    plan: RescalingPlan,
    *,
    reset_steps: Sequence[int] = (),
) -> optax.GradientTransformationExtraArgs:
    r"""Draws each weight's norm back towards its initial norm at every step.

    With :math:`W_l` the weights after the step that the updates would make,
    :math:`n_l` their Frobenius norms at initialisation and :math:`\lambda` the
    coefficient,

    .. math::
        c_l &= \frac{\lambda n_l + (1 - \lambda) \|W_l\|}{\|W_l\|} \\
        W_l &\leftarrow c_l W_l \\
        b_l &\leftarrow C_l b_l, \qquad C_l = c_1 c_2 \cdots c_l

    so that a norm goes a fraction :math:`\lambda` of its way back, and the
    biases follow so that the network's outputs change by a constant only.  The
    rule for :math:`b_l` is the paper's for a chain of layers; in general the
    logarithms of all leaves' scalers are ``plan.exponents @ log(c)``.

    If a step changes a squared norm by at most B, then the norm never exceeds
    its initial value by more than :math:`\sqrt{B} / \lambda`.

    Chain it last, behind the optimiser: what it rescales is ``params +
    updates``.

    Example:
        >>> import jax, jax.numpy as jnp, optax, swr_optax
        >>> def apply(params, x):
        ...     x = jax.nn.relu(x @ params["w1"] + params["b1"])
        ...     return x @ params["w2"] + params["b2"]
        >>> params = {"w1": jnp.ones((4, 8)), "b1": jnp.ones(8),
        ...           "w2": jnp.ones((8, 2)), "b2": jnp.ones(2)}
        >>> plan = swr_optax.plan_rescaling(apply, params, jnp.ones((16, 4)))
        >>> tx = optax.chain(
        ...     optax.adam(1e-3), swr_optax.soft_weight_rescaling(1e-3, plan))
        >>> opt_state = tx.init(params)
        >>> grads = jax.grad(lambda p: apply(p, jnp.ones((16, 4))).sum())(params)
        >>> updates, opt_state = tx.update(grads, opt_state, params)
        >>> params = optax.apply_updates(params, updates)

    Args:
        coefficient: :math:`\lambda` from 0 (no rescaling) to 1 (norms are held);
            a number, a traced scalar, a schedule (the step counts from 0), or a
            mapping from each of the plan's groups to one of these, such as
            ``{"feature": 1e-4, "classifier": 1e-1}``.  Where it is the Python
            or NumPy number 0, the updates pass unchanged to the bit.
        plan: of the network whose parameters these are.
        reset_steps: before these steps (counted from 0) the norms of the time
            become the reference norms: the paper's "SWR + re-init", for the
            steps at which the learning rate drops.

    Returns:
        A transformation whose ``update`` needs ``params``.  Its state is a
        :class:`SoftWeightRescalingState`.  A weight whose norm or reference
        norm is zero, or not finite, is left alone.  Norms are taken in float32,
        or in float64 for float64 parameters.

    Raises:
        ValueError: for a coefficient outside [0, 1], for a mapping whose groups
            are not the plan's, for a negative reset step; in ``init`` and
            ``update`` for parameters that the plan is not for.

    References:
        Oh, Park, Han and Kim, `Recovering Plasticity of Neural Networks via
        Soft Weight Rescaling <https://arxiv.org/abs/2507.04683>`_, 2025.  The
        last normalisation layer of its Algorithm 1 has an erratum; see the
        README.
    """
    by_group = _coefficients(coefficient, plan)
    still = [_is_zero(by_group[layer.group]) for layer in plan.layers]
    exponents = np.where(still, 0.0, plan.exponents)
    resets = np.array(reset_steps, np.int32)
    if (resets < 0).any():
        raise ValueError(f"reset_steps must not be negative: {list(reset_steps)}")

    def init_fn(params: optax.Params) -> SoftWeightRescalingState:
        norms = weight_norms(params, plan)
        return SoftWeightRescalingState(
            count=jnp.zeros([], jnp.int32),
            reference_norms=norms,
            log_scalers=jnp.zeros_like(norms),
        )

    def update_fn(
        updates: optax.Updates,
        state: SoftWeightRescalingState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, SoftWeightRescalingState]:
        del extra_args
        if params is None:
            raise ValueError(NO_PARAMS_MSG)
        places = plan.match_params(params)
        leaves = jax.tree.leaves(params, is_leaf=is_masked)
        structure: Any = jax.tree.structure(params, is_leaf=is_masked)
        changes = structure.flatten_up_to(updates)
        moved = [
            None if place is None or change is None else _widened(leaf) + change
            for place, leaf, change in zip(places, leaves, changes, strict=True)
        ]
        references = state.reference_norms
        if resets.size:
            references = jax.lax.cond(
                jnp.isin(state.count, resets),
                lambda: weight_norms(params, plan).astype(references.dtype),
                lambda: references,
            )
        log_scalers = _log_scalers(
            norms_of_weights(moved, places, plan).astype(references.dtype),
            references,
            jnp.stack(
                [
                    jnp.asarray(_at(by_group[layer.group], state.count))
                    for layer in plan.layers
                ]
            ),
        )
        log_factors = leaf_log_scalers(exponents, log_scalers)
        # With the factor less one, a scaling far below the precision of the
        # weight still reaches the sum with the update before it is rounded.
        factors = jnp.expm1(log_factors)

        def rescaled(place: int | slice | None, leaf: Any, change: Any) -> Any:
            if place is None or change is None or not exponents[place].any():
                return change
            factor = factor_of(leaf, factors, place)
            return ((1 + factor) * change + factor * leaf).astype(change.dtype)

        new_updates = map(rescaled, places, leaves, changes)
        return structure.unflatten(new_updates), SoftWeightRescalingState(
            count=optax.safe_increment(state.count),
            reference_norms=references,
            log_scalers=log_scalers,
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def reset_reference_norms(
    opt_state: optax.OptState, params: optax.Params, plan: RescalingPlan
) -> optax.OptState:
    """Makes the weights' present norms the reference norms.

    This is the paper's "SWR + re-init", to be called when the learning rate
    drops; ``reset_steps`` of :func:`soft_weight_rescaling` does it by itself.

    Args:
        opt_state: of any chain or wrapper around :func:`soft_weight_rescaling`.
        params: the parameters now.
        plan: the plan that the transformation was made with.

    Returns:
        The state with new reference norms and all else as it was.

    Raises:
        ValueError: if no :class:`SoftWeightRescalingState` is in ``opt_state``.
    """
    _rescaling_states(opt_state)
    norms = weight_norms(params, plan)

    def reset(node: Any) -> Any:
        if not _is_rescaling_state(node):
            return node
        return node._replace(reference_norms=norms.astype(node.reference_norms.dtype))

    return jax.tree.map(reset, opt_state, is_leaf=_is_rescaling_state)


def rescale_statistics(
    stats: Any,
    opt_state: optax.OptState,
    plan: RescalingPlan,
    *,
    previous: optax.OptState | None = None,
) -> Any:
    """The running statistics after the step just taken.

    BatchNorm's running mean and variance measure what the rescaled layers in
    front put out, so they follow the same scale (C and C squared).

    Args:
        stats: running statistics, as the forward pass of the step left them.
        opt_state: as ``update`` returned it.
        plan: made by :func:`plan_rescaling` with ``stats``.
        previous: the optimiser's state before the step.  Needed behind a
            wrapper that skips steps (:class:`optax.MultiSteps`,
            :func:`optax.apply_if_finite`): a skipped step rescales nothing.

    Returns:
        The statistics, each leaf times its factor.

    Raises:
        ValueError: if ``stats`` are not those of the plan, if ``opt_state``
            holds no :class:`SoftWeightRescalingState`, or if ``previous`` is
            needed and missing.
    """
    states = _rescaling_states(opt_state)
    log_scalers = jnp.sum(jnp.stack([s.log_scalers for s in states]), axis=0)
    if previous is not None:
        now = states[0].count
        before = _rescaling_states(previous)[0].count
        log_scalers = jnp.where(now != before, log_scalers, 0.0)
    else:
        skipping = (optax.MultiStepsState, optax.ApplyIfFiniteState)
        nodes = jax.tree.leaves(
            opt_state, is_leaf=lambda node: isinstance(node, skipping)
        )
        for node in nodes:
            if isinstance(node, skipping):
                raise ValueError(
                    f"opt_state holds a {type(node).__name__}, which may skip steps:"
                    " pass the state before the step as previous"
                )
    factors = leaf_log_scalers(plan.exponents, log_scalers)
    return scaled(stats, plan.match_statistics(stats), factors, plan)


def _coefficients(
    coefficient: Coefficient | Mapping[str, Coefficient], plan: RescalingPlan
) -> dict[str, Coefficient]:
    """The coefficient of each group."""
    if not isinstance(coefficient, Mapping):
        _check_coefficient(coefficient, "coefficient")
        return dict.fromkeys(plan.groups, coefficient)
    unknown = [group for group in coefficient if group not in plan.groups]
    missing = [group for group in plan.groups if group not in coefficient]
    if unknown or missing:
        raise ValueError(
            f"coefficient must name the plan's groups {list(plan.groups)}:"
            f" unknown {unknown}, missing {missing}"
        )
    for group, value in coefficient.items():
        _check_coefficient(value, f"coefficient[{group!r}]")
    return dict(coefficient)


def _check_coefficient(value: Coefficient, name: str) -> None:
    if callable(value) or isinstance(value, jax.core.Tracer):
        return
    if np.shape(value) != ():
        raise ValueError(
            f"{name} must be a scalar, not of shape {np.shape(value)}: use vmap for"
            " many coefficients"
        )
    number = np.asarray(value).item()
    if not 0 <= number <= 1:
        raise ValueError(f"{name} must be from 0 to 1, not {number:g}")


def _is_zero(value: Coefficient) -> bool:
    """Whether a coefficient is zero for good."""
    return isinstance(value, (int, float, np.number, np.ndarray)) and value == 0


def _at(value: Coefficient, count: jax.Array) -> jax.typing.ArrayLike:
    return value(count) if callable(value) else value


def _log_scalers(
    norms: jax.Array, references: jax.Array, coefficients: jax.Array
) -> jax.Array:
    """Log c of each layer; zero where a norm is zero or not finite."""
    usable = (norms > 0) & (references > 0) & jnp.isfinite(norms)
    safe = jnp.where(usable, norms, 1.0)
    less_one = coefficients.astype(norms.dtype) * (references - safe) / safe
    # log1p is exact near one, the quotient far below it.
    near = jnp.log1p(jnp.maximum(less_one, -0.5))
    mean = coefficients * references + (1 - coefficients) * safe
    return jnp.where(usable, jnp.where(less_one > -0.5, near, jnp.log(mean / safe)), 0)


def _widened(leaf: jax.Array) -> jax.Array:
    """At least float32: a small factor does not survive in 16 bits."""
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))


def _is_rescaling_state(node: Any) -> bool:
    return isinstance(node, SoftWeightRescalingState)


def _rescaling_states(opt_state: optax.OptState) -> list[SoftWeightRescalingState]:
    nodes = jax.tree.leaves(opt_state, is_leaf=_is_rescaling_state)
    states = [node for node in nodes if _is_rescaling_state(node)]
    if not states:
        raise ValueError(
            "opt_state holds no SoftWeightRescalingState: chain"
            " soft_weight_rescaling behind the optimiser"
        )
    return states

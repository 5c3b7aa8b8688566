"""What concerns Soft Weight Rescaling in the state of a whole optimiser."""

from __future__ import annotations

import collections
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from swr_optax._norms import AxisName
from swr_optax._soft_weight_rescaling import SoftWeightRescalingState
from swr_optax.metrics import weight_norms
from swr_optax.planning import RescalingPlan
from swr_optax.planning._rescale import leaf_log_scalers, scaled

CONTAINERS = (tuple, list, dict, collections.OrderedDict)
"""States of chains, and what wrappers keep several states in."""

WRAPPERS_THAT_TAKE_EVERY_STEP = (
    optax.MaskedState,
    optax.PartitionState,
    optax.InjectHyperparamsState,
    optax.InjectStatefulHyperparamsState,
)
"""States of wrappers that never leave out a step of what they wrap."""

WRAPPERS_THAT_CHANGE_UPDATES = (
    optax.contrib.MechanicState,
    optax.contrib.ScheduleFreeState,
    optax.LookaheadState,
)
"""States of wrappers that make other updates of what they wrap."""


def reset_reference_norms(
    opt_state: optax.OptState,
    params: optax.Params,
    plan: RescalingPlan,
    *,
    axis_name: AxisName = (),
) -> optax.OptState:
    """Makes the weights' present norms the reference norms.

    This is the paper's "SWR + re-init", to be called when the learning rate
    drops; ``reset_steps`` of :func:`soft_weight_rescaling` does it by itself.

    Args:
        opt_state: of any chain or wrapper around :func:`soft_weight_rescaling`.
        params: the parameters now.
        plan: the plan that the transformation was made with.
        axis_name: as the transformation was given it.

    Returns:
        The state with new reference norms, with nothing owed, and all else as it
        was.  The norms are those that the parameters have: what parameters of 16
        bits still owed was a pull towards the old reference norms.

    Raises:
        ValueError: if no :class:`SoftWeightRescalingState` is in ``opt_state``.
    """
    _rescaling_states(opt_state)
    norms = weight_norms(params, plan, axis_name=axis_name)

    def reset(node: Any) -> Any:
        if not _is_rescaling_state(node):
            return node
        return node._replace(
            reference_norms=_with(node.reference_norms, norms),
            owed_log_scalers=_with(node.owed_log_scalers, jnp.zeros_like(norms)),
        )

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
            wrapper that may skip steps (:class:`optax.MultiSteps`,
            :func:`optax.apply_if_finite`, :func:`optax.conditionally_transform`),
            since a skipped step rescales nothing, and behind one that this
            library does not know.  A Flax ``nnx.Optimizer`` changes its state in
            place: keep ``nnx.as_pure(optimizer.opt_state)`` before the step.

    Returns:
        The statistics, each leaf times its factor.

    Raises:
        ValueError: if ``stats`` are not those of the plan, if ``opt_state``
            holds no :class:`SoftWeightRescalingState`, if ``previous`` is
            needed and missing, or if a wrapper is around the transformation that
            changes its updates (such as :func:`optax.contrib.schedule_free`).
    """
    states = _rescaling_states(opt_state)
    wrappers = _wrappers(opt_state)
    for wrapper in wrappers:
        if wrapper in WRAPPERS_THAT_CHANGE_UPDATES:
            raise ValueError(
                f"opt_state holds a {wrapper.__name__} around soft_weight_rescaling,"
                " whose updates it changes: chain soft_weight_rescaling behind it"
            )
    if previous is None:
        for wrapper in wrappers:
            if wrapper not in (*CONTAINERS, *WRAPPERS_THAT_TAKE_EVERY_STEP):
                raise ValueError(
                    f"opt_state holds a {wrapper.__name__}, which may skip steps: pass"
                    " the state before the step as previous"
                )
        steps = [state.log_scalers for state in states]
    else:
        before = _rescaling_states(previous)
        if len(before) != len(states):
            raise ValueError(
                f"previous holds {len(before)} states of soft_weight_rescaling and"
                f" opt_state {len(states)}: pass the state of the same optimiser"
            )
        steps = [
            jnp.where(now.count != then.count, now.log_scalers, 0.0)
            for now, then in zip(states, before, strict=True)
        ]
    log_scalers = sum(steps[1:], start=steps[0])
    factors = leaf_log_scalers(plan.exponents, log_scalers)
    return scaled(stats, plan.match_statistics(stats), factors, plan)


def _wrappers(node: Any) -> list[type]:
    """The types of all nodes that hold a rescaling state."""
    if _is_rescaling_state(node) or not _rescaling_states_in(node):
        return []
    children = jax.tree.leaves(node, is_leaf=lambda below: below is not node)
    return [type(node), *itertools.chain(*map(_wrappers, children))]


def _is_rescaling_state(node: Any) -> bool:
    return isinstance(node, SoftWeightRescalingState)


def _with(field: Any, array: jax.Array) -> Any:
    """A state's field with another array; in a variable, if Flax put it in one."""
    return jax.tree.map(lambda old: array.astype(old.dtype), field)


def _rescaling_states_in(node: Any) -> list[SoftWeightRescalingState]:
    """All rescaling states below a node; of arrays, if Flax has them in variables."""
    nodes = jax.tree.leaves(node, is_leaf=_is_rescaling_state)
    return [
        SoftWeightRescalingState(*jax.tree.leaves(node))
        for node in nodes
        if _is_rescaling_state(node)
    ]


def _rescaling_states(opt_state: optax.OptState) -> list[SoftWeightRescalingState]:
    states = _rescaling_states_in(opt_state)
    if not states:
        raise ValueError(
            "opt_state holds no SoftWeightRescalingState: chain"
            " soft_weight_rescaling behind the optimiser"
        )
    return states

"""What concerns Soft Weight Rescaling in the state of a whole optimiser."""

from __future__ import annotations

import collections
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from swr_optax._norms import AxisName
from swr_optax._soft_weight_rescaling import (
    SoftWeightRescalingState,
    check_layers,
    new_references,
)
from swr_optax._tree import Tree
from swr_optax.metrics import weight_norms
from swr_optax.planning import RescalingPlan
from swr_optax.planning._arguments import check_plan
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

WRAPPERS_THAT_AVERAGE = {
    optax.contrib.ScheduleFreeState: "with schedule_free_eval_params",
    optax.LookaheadState: "with the slow parameters",
}
"""States of wrappers whose parameters are averages, and what these measure with."""


def reset_reference_norms(
    opt_state: Tree,
    params: Any,
    plan: RescalingPlan,
    *,
    axis_name: AxisName = (),
) -> Tree:
    """Makes the weights' present norms the reference norms.

    This is the paper's "SWR + re-init", to be called when the learning rate
    drops; ``reset_steps`` of :func:`soft_weight_rescaling` does it by itself.

    Args:
        opt_state: of any chain or wrapper around :func:`soft_weight_rescaling`.
        params: the parameters now.
        plan: the plan that the transformation was made with.
        axis_name: as the transformation was given it.

    Returns:
        The state with new reference norms, or the old ones where the new are not
        finite, with nothing owed, and all else as it was.  The norms are those that
        the parameters have: what parameters of 16 bits still owed was a pull towards
        the old reference norms.

    Raises:
        ValueError: if no :class:`SoftWeightRescalingState` is in ``opt_state``, or
            one of another plan.
        TypeError: if ``plan`` is no plan.
    """
    check_plan(plan)
    for state in _rescaling_states(opt_state):
        check_layers(state, plan, "opt_state", "plan")
    norms = weight_norms(params, plan, axis_name=axis_name)

    def reset(node: Any) -> Any:
        if not _is_rescaling_state(node):
            return node
        return node._replace(
            reference_norms=jax.tree.map(
                lambda old: new_references(norms, old), node.reference_norms
            ),
            owed_log_scalers=jax.tree.map(
                lambda old: jnp.zeros_like(norms, jnp.result_type(old)),
                node.owed_log_scalers,
            ),
        )

    return jax.tree.map(reset, opt_state, is_leaf=_is_rescaling_state)


def rescale_statistics(
    stats: Tree,
    opt_state: Any,
    plan: RescalingPlan,
    *,
    previous: Any = None,
) -> Tree:
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
            holds no :class:`SoftWeightRescalingState` or one of another plan, if
            ``previous`` is needed and missing, or if ``opt_state`` holds an optimiser
            that changes what the transformation did: around it
            :func:`optax.contrib.mechanize`, :func:`optax.contrib.schedule_free` or
            :func:`optax.lookahead`, beside it :func:`optax.contrib.cocob` or a
            :func:`optax.contrib.sam` that is not opaque.
        TypeError: if ``plan`` is no plan.
    """
    check_plan(plan)
    states = _rescaling_states(opt_state)
    for state in states:
        check_layers(state, plan, "opt_state", "plan")
    wrappers = _wrappers(opt_state)
    for wrapper in wrappers:
        if wrapper in WRAPPERS_THAT_AVERAGE:
            raise ValueError(
                f"opt_state holds a {wrapper.__name__} around soft_weight_rescaling,"
                " whose parameters are averages that no scale follows: measure the"
                f" statistics anew, {WRAPPERS_THAT_AVERAGE[wrapper]}"
            )
    if optax.contrib.MechanicState in wrappers:
        raise ValueError(
            "opt_state holds a MechanicState around soft_weight_rescaling, whose"
            " updates it changes: chain soft_weight_rescaling behind it"
        )
    _check_beside(opt_state)
    if previous is None:
        for wrapper in wrappers:
            if wrapper not in (*CONTAINERS, *WRAPPERS_THAT_TAKE_EVERY_STEP):
                raise ValueError(
                    f"opt_state holds a {wrapper.__name__}, which may skip steps for"
                    " all that is known: pass the state before the step as previous"
                )
        steps = [state.log_scalers for state in states]
    else:
        before = _rescaling_states(previous, "previous")
        for state in before:
            check_layers(state, plan, "previous", "plan")
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


def carry_reference_norms(
    old_state: Any,
    old_plan: RescalingPlan,
    new_state: Tree,
    new_plan: RescalingPlan,
) -> Tree:
    """Takes the reference norms of layers that stayed into a new state.

    For a network that changes while it learns, such as one that grows a head for
    each task: make a plan and a state for the new parameters, and those layers
    that were there before are drawn to the norms that they had at first.  A layer
    has stayed if its weight has the path, the shape and, in a stack, the position
    that it had.

    Example:
        >>> import jax, jax.numpy as jnp, optax, swr_optax
        >>> def make(params):
        ...     layers = [path for path in ("body", "head", "other") if path in params]
        ...     plan = swr_optax.sequential_plan(params, layers)
        ...     return plan, optax.chain(
        ...         optax.adam(1e-3), swr_optax.soft_weight_rescaling(1e-3, plan))
        >>> params = {"body": jnp.eye(4), "head": jnp.eye(4)[:, :1]}
        >>> plan, tx = make(params)
        >>> state = tx.init(params)
        >>> params = {"body": 3 * params["body"], "other": jnp.ones((4, 4))}
        >>> new_plan, new_tx = make(params)
        >>> new_state = swr_optax.carry_reference_norms(
        ...     state, plan, new_tx.init(params), new_plan)
        >>> print(new_state[1].reference_norms)
        [2. 4.]

    Args:
        old_state: of any chain or wrapper around :func:`soft_weight_rescaling`.
        old_plan: the plan that its transformation was made with.
        new_state: as ``init`` of the new transformation returned it.
        new_plan: the plan that the new transformation was made with.

    Returns:
        The new state, in which layers that stayed have their old reference norms
        and what they owe, and all else is as it was: a layer that is new or has
        another shape is drawn to the norm that it has in ``new_state``, and steps
        count from there.  Where there are several states of
        :func:`soft_weight_rescaling`, each gets what the one of its turn had.

    Raises:
        ValueError: if one of the states holds no :class:`SoftWeightRescalingState`
            or one of another plan, if they hold different numbers of them, or if no
            layer has stayed.
        TypeError: if one of the plans is none.
    """
    check_plan(old_plan, "old_plan")
    check_plan(new_plan, "new_plan")
    old = _rescaling_states(old_state, "old_state")
    new = _rescaling_states(new_state, "new_state")
    for state in old:
        check_layers(state, old_plan, "old_state", "old_plan")
    for state in new:
        check_layers(state, new_plan, "new_state", "new_plan")
    if len(old) != len(new):
        raise ValueError(
            f"old_state holds {len(old)} states of soft_weight_rescaling and new_state"
            f" {len(new)}: make the new optimiser as the old one was made"
        )
    before = {
        (layer.name, layer.shape): position
        for position, layer in enumerate(old_plan.layers)
    }
    stayed = [
        (position, before[layer.name, layer.shape])
        for position, layer in enumerate(new_plan.layers)
        if (layer.name, layer.shape) in before
    ]
    if not stayed:
        raise ValueError(
            "no layer of new_plan has the path and shape of one of old_plan, so there"
            " is nothing to carry: use new_state as it is"
        )
    to, source = np.array(stayed).T
    turns = iter(old)

    def carried(node: Any) -> Any:
        if not _is_rescaling_state(node):
            return node
        state = next(turns)
        owed = jnp.broadcast_to(state.owed_log_scalers, len(old_plan.layers))
        fields = {"reference_norms": state.reference_norms, "owed_log_scalers": owed}
        return node._replace(
            **{
                name: jax.tree.map(
                    lambda array, kept=kept: array.at[to].set(kept[source]),
                    getattr(node, name),
                )
                for name, kept in fields.items()
            }
        )

    return jax.tree.map(carried, new_state, is_leaf=_is_rescaling_state)


def _wrappers(node: Any) -> list[type]:
    """The types of all nodes that hold a rescaling state."""
    if _is_rescaling_state(node) or not _rescaling_states_in(node):
        return []
    children = jax.tree.leaves(node, is_leaf=lambda below: below is not node)
    return [type(node), *itertools.chain(*map(_wrappers, children))]


def _check_beside(opt_state: Any) -> None:
    """Refuses optimisers beside the transformation that undo what it did."""

    def undoes(node: Any) -> bool:
        # An opaque one keeps no parameters to go back to.
        goes_back = isinstance(node, optax.contrib.SAMState) and node.cache is not None
        return goes_back or isinstance(node, optax.contrib.COCOBState)

    for node in jax.tree.leaves(opt_state, is_leaf=undoes):
        if undoes(node) and not _rescaling_states_in(node):
            name = type(node).__name__
            how = "use another optimiser"
            if isinstance(node, optax.contrib.SAMState):
                how = "chain it behind the optimiser that sam is given"
            raise ValueError(
                f"opt_state holds a {name} beside soft_weight_rescaling, which returns"
                f" to earlier parameters: {how}"
            )


def _is_rescaling_state(node: Any) -> bool:
    return isinstance(node, SoftWeightRescalingState)


def _rescaling_states_in(node: Any) -> list[SoftWeightRescalingState]:
    """All rescaling states below a node; of arrays, if Flax has them in variables."""
    nodes = jax.tree.leaves(node, is_leaf=_is_rescaling_state)
    return [
        SoftWeightRescalingState(*jax.tree.leaves(node))
        for node in nodes
        if _is_rescaling_state(node)
    ]


def _rescaling_states(
    opt_state: optax.OptState, name: str = "opt_state"
) -> list[SoftWeightRescalingState]:
    states = _rescaling_states_in(opt_state)
    if not states:
        raise ValueError(
            f"{name} holds no SoftWeightRescalingState: chain soft_weight_rescaling"
            " behind the optimiser; if it was saved, restore it into the structure of"
            " tx.init(params)"
        )
    return states

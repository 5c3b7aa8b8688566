"""What a reset of units does to parameters and to an optimiser's state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from swr_optax.baselines._arguments import check_optimizer
from swr_optax.planning import Leaf, RescalingPlan, UnitSlices
from swr_optax.planning._arguments import check_function, check_plan
from swr_optax.planning.plan import rows_of
from swr_optax.planning.plan._paths import is_masked


class Step(NamedTuple):
    """An optimiser's step.

    Attributes:
        updates: what is added to the parameters.
        state: of the optimiser, after the step.
    """

    updates: Any
    state: Any


def check_given(
    inner: Any, plan: Any, init_fn: Any, name: str
) -> optax.GradientTransformationExtraArgs:
    """Refuses what no units can be reset with; the optimiser, for extra arguments.

    Raises:
        ValueError: if the plan has no hidden units.
        TypeError: if one of them is of another type.
    """
    check_plan(plan)
    check_optimizer(inner)
    check_function(init_fn, "init_fn", "a function that makes parameters of a key")
    if not plan.units:
        raise ValueError(
            f"{name} needs a plan with hidden units, and this plan has none: see"
            " RescalingPlan.units for where plan_rescaling finds them"
        )
    return optax.with_extra_args_support(inner)


def check_activations(activations: Any, plan: RescalingPlan, name: str) -> None:
    """Refuses an ``update`` without one activation for each layer of units.

    Raises:
        ValueError: if they are missing or do not fit the plan's units.
        TypeError: if they are no sequence of arrays.
    """
    if activations is None:
        raise ValueError(
            f"{name} needs the activations: call update(updates, state, params,"
            " activations=activations) with what with_activations returns"
        )
    if not isinstance(activations, (tuple, list)):
        raise TypeError(
            "activations must be a tuple of arrays, as with_activations returns, not"
            f" {type(activations).__name__}"
        )
    expected = [units.count for units in plan.units]
    found = [jnp.shape(array)[-1:] for array in activations]
    if found != [(count,) for count in expected]:
        raise ValueError(
            f"activations must be arrays with {expected} units along their last axes,"
            f" not {[shape[0] if shape else None for shape in found]}"
        )


def mean_magnitude(activation: jax.Array) -> jax.Array:
    """Mean |h| of each unit, in at least float32; shape (units,)."""
    wide = jnp.promote_types(activation.dtype, jnp.float32)
    return jnp.abs(activation.astype(wide)).mean(range(activation.ndim - 1))


def reset_units(
    step: Step,
    masks: Sequence[jax.Array],
    params: Any,
    plan: RescalingPlan,
    inner: optax.GradientTransformation,
    init_fn: Callable[[jax.Array], Any],
    key: jax.Array,
) -> Step:
    """A step after which the units of the masks are new.

    Incoming weights and scales are drawn anew, shifts are zero, and so are the
    outgoing weights, those to other new units too.  In the optimiser's state what
    mirrors a parameter begins anew in the same entries, as ``init`` has it.

    Args:
        step: of the optimiser.
        masks: for each layer of units which of them are reset, shape (units,).
        params: before the step.
        plan: says where the units' slices are.
        inner: the optimiser.
        init_fn: makes fresh parameters of a key.
        key: from which they are drawn.
    """

    def reset(step: Step) -> Step:
        places = plan.match_params(params)
        structure: Any
        leaves, structure = jax.tree.flatten(params, is_leaf=is_masked)
        updates = structure.flatten_up_to(step.updates)
        fresh = structure.flatten_up_to(init_fn(key))
        position_of = {row: k for k, p in enumerate(places) for row in rows_of(p)}
        changed: list[Any] = [False] * len(leaves)
        for side in ("incoming", "outgoing"):  # The outgoing have the last word.
            for units, mask in zip(plan.units, masks, strict=True):
                for place in getattr(units, side):
                    k = position_of.get(place.leaf)
                    if k is None:
                        continue  # It is masked out.
                    leaf = plan.leaves[place.leaf]
                    zero = side == "outgoing" or leaf.role == "shift"
                    entries = entries_of(place, mask, leaf, leaves[k].shape)
                    new = (0 if zero else fresh[k]) - leaves[k]
                    updates[k] = jnp.where(entries, new, updates[k]).astype(
                        updates[k].dtype
                    )
                    changed[k] |= entries
        new_updates = structure.unflatten(updates)
        new_params = optax.apply_updates(params, new_updates)
        state = _begun_anew(
            step.state,
            inner.init(new_params),
            params,
            structure.unflatten(changed),
        )
        return Step(new_updates, state)

    any_at_all = jnp.any(jnp.stack([mask.any() for mask in masks]))
    return jax.lax.cond(any_at_all, reset, lambda step: step, step)


def entries_of(
    place: UnitSlices, mask: jax.Array, leaf: Leaf, shape: tuple[int, ...]
) -> jax.Array:
    """Which entries of an array are of the masked units; broadcasts to its shape.

    Args:
        place: says where the units are in a leaf of the plan.
        mask: which units are meant, shape (units,).
        leaf: that leaf, which may be a slice of the array.
        shape: of the array.
    """
    units = place.unit_of_entries(mask.shape[0], leaf.shape[place.axis])
    along = jnp.where(units >= 0, mask[units], False)
    entries = along.reshape(
        [-1 if axis == place.axis else 1 for axis in range(len(leaf.shape))]
    )
    if leaf.index is None:
        return entries
    here = jnp.arange(shape[0]) == leaf.index
    return here.reshape(-1, *[1] * len(leaf.shape)) & entries


def _begun_anew(state: Any, begun: Any, params: Any, changed: Any) -> Any:
    """The state with the changed entries of what mirrors parameters as at the start.

    An array mirrors a parameter if it has its shape and its place in the tree, so
    in the state of any transformation, wrapped and masked as it may be.
    """
    given, _ = jax.tree.flatten_with_path(params, is_leaf=is_masked)
    masks = jax.tree.leaves(changed)
    mirrors = {
        path: (jnp.shape(leaf), mask)
        for (path, leaf), mask in zip(given, masks, strict=True)
        if not is_masked(leaf)
    }
    longest = max(map(len, mirrors), default=0)

    def anew(path: Any, now: Any, start: Any) -> Any:
        for length in range(min(longest, len(path)), -1, -1):
            shape, mask = mirrors.get(path[len(path) - length :], (None, False))
            if shape == jnp.shape(now):
                return now if mask is False else jnp.where(mask, start, now)
        return now

    return jax.tree.map_with_path(anew, state, begun)

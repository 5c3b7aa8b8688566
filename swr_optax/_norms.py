"""Frobenius norms of a plan's weights, also of weights that are split over devices."""

from __future__ import annotations

from collections.abc import Sequence
import itertools
import math
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from swr_optax.planning import RescalingPlan

Place: TypeAlias = int | slice | None
"""Where a plan has an array: its row, its slices' rows, or None if masked out."""

AxisName: TypeAlias = str | tuple[str, ...]
"""Names of the axes of :func:`jax.shard_map` over which weights may be split."""

STACKED_UP_TO = 2**12
"""Entries up to which arrays of one shape are copied together to be summed at once.

Below, a reduction of its own costs an array more than the copy: one more kernel to
start, or with XLA's reductions in stages three.
"""


def rows_of(place: Place) -> range:
    """The rows of the plan that an array has."""
    if place is None:
        return range(0)
    if isinstance(place, slice):
        return range(place.start, place.stop)
    return range(place, place + 1)


def norms_of_weights(
    leaves: Sequence[Any],
    places: Sequence[Place],
    plan: RescalingPlan,
    *,
    layers: Sequence[int] | np.ndarray | None = None,
    axis_name: AxisName = (),
) -> jax.Array:
    """Frobenius norm of each layer's weight, zero if it is not there.

    Args:
        leaves: the parameters, or arrays in their place.
        places: where the plan has them.
        plan: says which of them are weights.
        layers: whose norms; all of the plan's by default.
        axis_name: what the weights may be split over.

    Returns:
        Norms in the order of the layers, at least float32; shape (layers,).
    """
    wanted = range(len(plan.layers)) if layers is None else layers
    rows = [plan.weights[layer] for layer in wanted]
    # One reduction for arrays that are alike, one psum for those of the same axes.
    found: dict[Any, dict[Any, list[int]]] = {}
    for i, (leaf, place) in enumerate(zip(leaves, places, strict=True)):
        if leaf is None or not {*rows}.intersection(rows_of(place)):
            continue
        axes = split_over(leaf, place, plan, axis_name)
        kind = (leaf.shape, leaf.dtype) if _is_stacked(leaf, place) else i
        found.setdefault(axes, {}).setdefault(kind, []).append(i)
    sums: list[jax.Array] = []
    position: dict[int, int] = {}
    for axes, kinds in found.items():
        for alike in kinds.values():
            of_these = [row for i in alike for row in rows_of(places[i])]
            position.update(zip(of_these, itertools.count(len(position))))
        parts = [
            _sums_of_squares([leaves[i] for i in alike], places[alike[0]])
            for alike in kinds.values()
        ]
        together = _joined(parts)
        sums.append(jax.lax.psum(together, axes) if axes else together)
    none = len(position)  # A zero behind the others stands for what is not there.
    order = [position.get(row, none) for row in rows]
    if none in order:
        sums.append(jnp.zeros(1))
    squares = _joined(sums)
    if order != list(range(len(squares))):
        squares = squares[np.array(order)]
    return jnp.sqrt(squares)


def _is_stacked(leaf: jax.Array, place: Place) -> bool:
    """Whether an array is copied together with others of its shape.

    Not on a mesh, where copying together what is laid out differently would move it
    between devices.
    """
    mesh = jax.typeof(leaf).sharding.mesh
    alone = mesh.empty or mesh.size == 1
    single = isinstance(place, int) and leaf.ndim > 0
    return alone and single and leaf.size <= STACKED_UP_TO


def _sums_of_squares(arrays: Sequence[jax.Array], place: Place) -> jax.Array:
    """Of each array, or of each slice of a stacked one."""
    stack = arrays[0]
    if isinstance(place, int):
        # Without an axis of its own for each, which would be an equation for each.
        together = jnp.concatenate(arrays) if len(arrays) > 1 else stack
        stack = together.reshape(len(arrays), *stack.shape)
    wide = widened(stack)
    size = jnp.abs(wide) if jnp.iscomplexobj(wide) else wide
    return jnp.sum(jnp.square(size), axis=tuple(range(1, stack.ndim)))


def _joined(parts: Sequence[jax.Array]) -> jax.Array:
    dtype = jnp.result_type(jnp.float32, *parts)
    return jnp.concatenate([part.astype(dtype) for part in parts])


def widened(leaf: jax.Array) -> jax.Array:
    """At least float32: a small factor does not survive in 16 bits."""
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))


def split_over(
    leaf: Any, place: Place, plan: RescalingPlan, axis_name: AxisName
) -> tuple[str, ...]:
    """The axes over which an array is split; none for one that is whole.

    Raises:
        ValueError: if it is a part of what the plan knows, and not along these axes.
    """
    rows = rows_of(place)
    if not rows:
        return ()
    parts = len(rows) * math.prod(plan.leaves[rows[0]].shape) // max(1, leaf.size)
    if parts <= 1:
        return ()
    names = (axis_name,) if isinstance(axis_name, str) else tuple(axis_name)
    ways = [
        axes
        for count in range(1, len(names) + 1)
        for axes in itertools.combinations(names, count)
        if math.prod(jax.lax.axis_size(axis) for axis in axes) == parts
    ]
    if len(ways) > 1:  # Axes of the same size: the type says over which it varies.
        varies = jax.typeof(leaf).manual_axis_type.varying
        ways = [axes for axes in ways if varies.issuperset(axes)] or ways
    if len(ways) != 1:
        raise ValueError(
            f"parameter {plan.leaves[rows[0]].path} is one of {parts} parts, which"
            f" axis_name={axis_name!r} does not explain: name the axes of shard_map"
            " that it is split over"
        )
    return ways[0]

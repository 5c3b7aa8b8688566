"""Frobenius norms of a plan's weights, also of weights that are split over devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import functools
import itertools
import math
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from swr_optax.planning import RescalingPlan
from swr_optax.planning.plan import Place, rows_of

AxisName: TypeAlias = str | tuple[str, ...]
"""Names of the axes of :func:`jax.shard_map` over which weights may be split."""

STACKED_UP_TO = 2**12
"""Entries up to which arrays of one shape are copied together to be summed at once.

Below, a reduction of its own costs an array more than the copy: one more kernel to
start, or with XLA's reductions in stages three.
"""


def norms_of_weights(
    leaves: Sequence[Any],
    places: Sequence[Place],
    plan: RescalingPlan,
    *,
    layers: Sequence[int] | np.ndarray | None = None,
    near: jax.Array | None = None,
    axis_name: AxisName = (),
) -> jax.Array:
    """Frobenius norm of each layer's weight, zero if it is not there.

    Float32 has no squares of what is below 1e-19 or above 1e19.  So each weight is
    first multiplied by a power of two that brings its norm near one, and the norm
    divided by it: both are exact, and cost nothing in the pass that squares.

    Args:
        leaves: the parameters, or arrays in their place.
        places: where the plan has them.
        plan: says which of them are weights.
        layers: whose norms; all of the plan's by default.
        near: what these norms are within 1e19 times of; otherwise each weight's
            largest entry is looked for, which is one more pass.
        axis_name: what the weights may be split over.

    Returns:
        Norms in the order of the layers, at least float32; shape (layers,).
    """
    wanted = range(len(plan.layers)) if layers is None else layers
    over = functools.partial(
        _over_entries, leaves, places, plan, [plan.weights[i] for i in wanted]
    )
    if near is None:
        near = over(_largest, jax.lax.pmax, axis_name=axis_name)
    powers = _powers_of_two(near)
    squares = over(_sums_of_squares, jax.lax.psum, powers, axis_name=axis_name)
    return _root(squares) / powers.astype(squares.dtype)


@jax.custom_jvp
def _root(squares: jax.Array) -> jax.Array:
    """The square root, whose derivative at zero is taken for zero.

    It is infinite there, which makes gradients through a weight of zeros NaN.
    """
    return jnp.sqrt(squares)


@_root.defjvp
def _root_jvp(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    root = _root(*primals)
    there = root != 0
    slope = 0.5 / jnp.where(there, root, 1.0)
    return root, jnp.where(there, slope * tangents[0], 0.0)


def _powers_of_two(sizes: jax.Array) -> jax.Array:
    """By which to multiply so that what has these sizes is from one to two."""
    bits = jax.lax.bitcast_convert_type(sizes.astype(jnp.float32), jnp.int32)
    # 1 to 253 of the 8 bits of the exponent: their powers' inverses are normal too.
    exponents = jnp.clip((bits >> 23) & 0xFF, 1, 253)
    return jax.lax.bitcast_convert_type((254 - exponents) << 23, jnp.float32)


def _over_entries(
    leaves: Sequence[Any],
    places: Sequence[Place],
    plan: RescalingPlan,
    rows: Sequence[int],
    reduced: Callable[..., jax.Array],
    across: Callable[..., jax.Array],
    powers: jax.Array | None = None,
    *,
    axis_name: AxisName,
) -> jax.Array:
    """A reduction over the entries of each of some rows' arrays, zero without any.

    Args:
        leaves: arrays.
        places: where the plan has them.
        plan: has the rows.
        rows: whose arrays.
        reduced: of some arrays at one kind of place, and of what to multiply them by.
        across: the same reduction across devices.
        powers: by which to multiply each row's array.
        axis_name: what the arrays may be split over.
    """
    # One reduction for arrays that are alike, one psum for those of the same axes.
    found: dict[Any, dict[Any, list[int]]] = {}
    for i, (leaf, place) in enumerate(zip(leaves, places, strict=True)):
        if leaf is None or not {*rows}.intersection(rows_of(place)):
            continue
        axes = split_over(leaf, place, plan, axis_name)
        kind = (leaf.shape, leaf.dtype) if _is_stacked(leaf, place) else i
        found.setdefault(axes, {}).setdefault(kind, []).append(i)
    number = {row: k for k, row in enumerate(rows)}
    results: list[jax.Array] = []
    position: dict[int, int] = {}
    for axes, kinds in found.items():
        parts: list[jax.Array] = []
        for alike in kinds.values():
            of_these = [row for i in alike for row in rows_of(places[i])]
            position.update(zip(of_these, itertools.count(len(position))))
            # Slices that are nobody's weight have a row, and no number of their own.
            each = [number.get(row, 0) for row in of_these]
            by = None if powers is None else _picked(powers, each)
            parts.append(reduced([leaves[i] for i in alike], places[alike[0]], by))
        together = _joined(parts)
        results.append(across(together, axes) if axes else together)
    none = len(position)  # A zero behind the others stands for what is not there.
    order = [position.get(row, none) for row in rows]
    if none in order:
        results.append(jnp.zeros(1))
    return _picked(_joined(results), order)


def _picked(vector: jax.Array, order: Sequence[int]) -> jax.Array:
    """A vector's entries in an order, without an equation if that is its own."""
    return vector if [*order] == [*range(len(vector))] else vector[np.array(order)]


def _is_stacked(leaf: jax.Array, place: Place) -> bool:
    """Whether an array is copied together with others of its shape.

    Not on a mesh, where copying together what is laid out differently would move it
    between devices.
    """
    mesh = jax.typeof(leaf).sharding.mesh
    alone = mesh.empty or mesh.size == 1
    single = isinstance(place, int) and leaf.ndim > 0
    return alone and single and leaf.size <= STACKED_UP_TO


def _sums_of_squares(
    arrays: Sequence[jax.Array], place: Place, powers: jax.Array
) -> jax.Array:
    """Of each array times its power of two, or of each slice of a stacked one."""
    sizes = _sizes(arrays, place)
    scaled = sizes * powers.reshape(-1, *(1,) * (sizes.ndim - 1)).astype(sizes.dtype)
    return jnp.sum(jnp.square(scaled), axis=tuple(range(1, sizes.ndim)))


def _largest(arrays: Sequence[jax.Array], place: Place, _: None) -> jax.Array:
    """Entry of each array, or of each slice of a stacked one."""
    sizes = jnp.abs(_sizes(arrays, place))
    return jnp.max(sizes, axis=tuple(range(1, sizes.ndim)), initial=0)


def _sizes(arrays: Sequence[jax.Array], place: Place) -> jax.Array:
    """Arrays together, along a first axis: entries, or sizes of complex ones."""
    stack = arrays[0]
    if isinstance(place, int):
        # Without an axis of its own for each, which would be an equation for each.
        together = jnp.concatenate(arrays) if len(arrays) > 1 else stack
        stack = together.reshape(len(arrays), *stack.shape)
    wide = widened(stack)
    return jnp.abs(wide) if jnp.iscomplexobj(wide) else wide


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

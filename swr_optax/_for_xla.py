"""The same numbers in forms of which XLA makes better programs.

Each function says what it is for and by how much it pays; without it the results
would be the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

FEW = 8
"""Entries up to which a vector is left as it is."""

TOGETHER = 64
"""Entries that one reduction puts out, at most."""


def entries(vector: jax.Array) -> Sequence[jax.Array] | jax.Array:
    """A vector's entries, of which each can be had by its position.

    XLA makes ``vector[i]`` a part of each kernel that uses it, and so each kernel
    another one that is compiled by itself, although all do the same.  Here each
    entry is an array of its own, and layers of the same shape share one kernel.
    For two thousand leaves that more than halves the time of compilation on a CPU.

    A reduction of several arrays at once is what XLA has to put out many scalars.
    Next to each entry stands a zero to be added, since otherwise there were nothing
    to reduce.
    """
    count = vector.shape[0]
    if count <= FEW:
        return vector
    width = min(TOGETHER, count)
    rows = jnp.pad(vector, (0, -count % width)).reshape(-1, width)
    found: list[jax.Array] = []
    nothing = [jnp.zeros((), vector.dtype)] * width
    for row in rows:
        pairs = jnp.stack([row, jnp.zeros_like(row)])
        columns = jax.lax.split(pairs, [1] * width, axis=1)
        found += jax.lax.reduce(columns, nothing, _add_each, (0, 1))
    return found[:count]


def _add_each(left: Sequence[jax.Array], right: Sequence[jax.Array]) -> list[jax.Array]:
    return [a + b for a, b in zip(left, right, strict=True)]


def after(array: jax.Array, scalar: jax.Array) -> jax.Array:
    """The array, which on a CPU is not computed before a scalar is.

    There XLA keeps in scratch memory what is computed once and used twice.  With the
    scalar that is made of one such array, the next one waits until that is used up,
    and takes its place: scratch memory for the largest of them instead of for all,
    which the system would have to clear at each step.  At 1e7 parameters in three
    leaves that halves the optimiser's step.  Accelerators compute it twice instead
    and need no scratch memory; and there the scalar could be a sum over devices.
    """

    def waiting(array: jax.Array, scalar: jax.Array) -> jax.Array:
        # Zero, which XLA does not know. The exponential makes it a kernel of its own,
        # one more to wait for than for what uses up the array before.
        zero = jnp.expm1(jnp.minimum(jnp.abs(scalar), 0))
        return array + zero.astype(array.dtype)

    return jax.lax.platform_dependent(
        array, scalar, cpu=waiting, default=lambda array, _: array
    )

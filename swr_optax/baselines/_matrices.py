"""Weights read as matrices: outputs × inputs, for each layer one."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from swr_optax._norms import widened
from swr_optax.baselines._parameters import are_weights
from swr_optax.planning import Leaf, RescalingPlan
from swr_optax.planning.plan import rows_of


@dataclasses.dataclass(frozen=True)
class Matrices:
    """Weights in one array that are matrices along the same axes.

    Attributes:
        position: of the array among the parameters, in tree order.
        leaf: one of the weights; the others have the same shape and axes.
        slices: which slices of a stacked array they are; None for an array that is
            one weight.
    """

    position: int
    leaf: Leaf
    slices: tuple[int, ...] | None

    def read(self, array: jax.Array, apart: tuple[int, ...] = ()) -> jax.Array:
        """The matrices in an array of the parameter's shape, at least float32.

        Args:
            array: the parameter, or its update.
            apart: axes of the weight along which each position has a matrix of its
                own.

        Returns:
            Shape (matrices, outputs, inputs).
        """
        if self.slices is None:
            stack = array[None]
        elif len(self.slices) == array.shape[0]:
            stack = array
        else:
            stack = array[np.array(self.slices)]
        order, outputs, inputs = self._layout(apart)
        moved = widened(stack).transpose(0, *(1 + axis for axis in order))
        return moved.reshape(-1, outputs, inputs)

    def write(
        self, array: jax.Array, matrices: jax.Array, apart: tuple[int, ...] = ()
    ) -> jax.Array:
        """The array with these matrices in it; the inverse of :meth:`read`."""
        order, _, _ = self._layout(apart)
        moved = matrices.reshape(-1, *(self.leaf.shape[axis] for axis in order))
        back = np.argsort([0, *(1 + axis for axis in order)])
        stack = moved.transpose(*back).astype(array.dtype)
        if self.slices is None:
            return stack[0]
        if len(self.slices) == array.shape[0]:
            return stack
        return array.at[np.array(self.slices)].set(stack)

    def _layout(self, apart: tuple[int, ...]) -> tuple[tuple[int, ...], int, int]:
        """Order of the axes in matrices, and the numbers of outputs and inputs."""
        leaf = self.leaf
        outputs = leaf.output_axes
        inputs = tuple(axis for axis in leaf.input_axes if axis not in apart)
        alone = [a for a in range(len(leaf.shape)) if a not in (*outputs, *inputs)]
        return (
            (*alone, *outputs, *inputs),
            math.prod(leaf.shape[axis] for axis in outputs),
            math.prod(leaf.shape[axis] for axis in inputs),
        )


def matrices_of(
    plan: RescalingPlan,
    params: optax.Params,
    chosen: Callable[[Leaf], bool] = lambda _: True,
) -> list[Matrices]:
    """All weights that mix inputs, as matrices.

    Args:
        plan: says which parameters are weights, and along which axes.
        params: the parameters; what is masked out has no matrices.
        chosen: whether a leaf of the plan is wanted.

    Returns:
        In tree order.  A weight that only scales, such as that of a normalisation
        layer, is none.
    """
    weights = are_weights(plan)
    found: list[Matrices] = []
    for position, place in enumerate(plan.match_params(params)):
        rows = rows_of(place)
        alike: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
        for index, row in enumerate(rows):
            leaf = plan.leaves[row]
            if weights[row] and leaf.input_axes and leaf.output_axes and chosen(leaf):
                alike.setdefault((leaf.input_axes, leaf.output_axes), []).append(index)
        for indices in alike.values():
            found.append(
                Matrices(
                    position,
                    plan.leaves[rows[indices[0]]],
                    tuple(indices) if isinstance(place, slice) else None,
                )
            )
    return found


def product(left: jax.Array, right: jax.Array) -> jax.Array:
    """Matrix product that accelerators do not round to bfloat16."""
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


def kernel_axes_of(leaf: Leaf) -> tuple[int, ...]:
    """All input axes of what looks like a convolution, but for the channels'."""
    if len(leaf.output_axes) != 1 or len(leaf.input_axes) < 3:
        return ()
    (outputs,) = leaf.output_axes
    channels = min(leaf.input_axes, key=lambda axis: abs(axis - outputs))
    return tuple(axis for axis in leaf.input_axes if axis != channels)

"""FIRE: each weight becomes the nearest orthogonal one, when the data change."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Any

import jax
import jax.numpy as jnp

from swr_optax._tree import Tree
from swr_optax.baselines._arguments import check_interval
from swr_optax.baselines._matrices import kernel_axes_of, matrices_of, product
from swr_optax.planning import Leaf, RescalingPlan
from swr_optax.planning._arguments import check_plan
from swr_optax.planning.plan._paths import is_masked


def fire(
    params: Tree,
    plan: RescalingPlan,
    *,
    leaves: Callable[[Leaf], bool] = lambda _: True,
    kernel_axes: Callable[[Leaf], tuple[int, ...]] | None = None,
    iterations: int = 10,
) -> Tree:
    r"""Orthogonalises the weights, when the data change.

    Of a weight W, outputs × inputs, the polar factor is found by Newton and
    Schulz's iteration, and scaled:

    .. math::
        X &\leftarrow W / \|W\|, \qquad
        X \leftarrow \tfrac{3}{2} X - \tfrac{1}{2} X X^\top X
            \quad \text{(ten times)} \\
        W &\leftarrow \sqrt{d_\text{out} / d_\text{in}} \; X

    A convolution has such a matrix at each position of its kernel, with channels
    for inputs, and is divided by the number of positions.

    Ten iterations bring singular values below a few hundredths of the norm only
    part of the way to one, as in the authors' code.  Norms change: call
    :func:`reset_reference_norms` after it if SWR is to hold the new ones.  The
    authors begin the optimiser's state anew at each change of data.

    Their choice in a vision transformer is query and key alone (``leaves=lambda
    leaf: "query" in leaf.path or "key" in leaf.path``), in a GPT and elsewhere all
    linear maps and convolutions, the last layer with them, and no embeddings, which
    this function cannot tell from linear maps.

    Example:
        >>> import jax.numpy as jnp, swr_optax
        >>> params = {"w": jnp.array([[3.0, 0.0], [0.0, 2.0]])}
        >>> plan = swr_optax.plan_rescaling(
        ...     lambda p, x: x @ p["w"], params, jnp.ones((1, 2)))
        >>> print(swr_optax.fire(params, plan)["w"].round(3))
        [[1. 0.]
         [0. 1.]]

    Args:
        params: the parameters now.
        plan: of the network whose parameters these are: which are weights, and
            along which axes.
        leaves: which of the plan's weights are changed.  Scales of normalisation
            layers, biases and what is masked out never are.
        kernel_axes: the axes of a weight along which a convolution's kernel has its
            positions; none for a linear map.  By default a weight with one axis of
            outputs and more than two of inputs is a convolution, and of its input
            axes that next to the outputs is the channels': so it is in layouts such
            as HWIO and OIHW.  A convolution in one dimension, which has the axes of
            an attention's output projection, is named here, or else is one matrix.
        iterations: of Newton and Schulz.

    Returns:
        The new parameters, of the same types as before.  A weight of zeros stays.

    Raises:
        ValueError: if the plan is not for these parameters, or if ``iterations`` is
            below 1.
        TypeError: if ``iterations`` is not a whole number.

    References:
        Han et al., `FIRE: Frobenius-Isometry Reinitialization for Balancing the
        Stability-Plasticity Tradeoff <https://arxiv.org/abs/2602.08040>`_, 2026.
    """
    check_plan(plan)
    check_interval(iterations, "iterations")
    structure: Any = jax.tree.structure(params, is_leaf=is_masked)
    arrays = jax.tree.leaves(params, is_leaf=is_masked)
    for block in matrices_of(plan, params, leaves):
        axes = (kernel_axes or kernel_axes_of)(block.leaf)
        old = block.read(arrays[block.position], apart=axes)
        positions = math.prod(block.leaf.shape[axis] for axis in axes)
        scale = math.sqrt(old.shape[1] / old.shape[2]) / positions
        new = jnp.where(
            jnp.any(old != 0, axis=(1, 2), keepdims=True),
            scale * polar_factor(old, iterations),
            old,
        )
        arrays[block.position] = block.write(arrays[block.position], new, apart=axes)
    return structure.unflatten(arrays)


def polar_factor(matrices: jax.Array, iterations: int) -> jax.Array:
    """The nearest matrices whose singular values are one, by iteration.

    Args:
        matrices: shape (matrices, outputs, inputs).
        iterations: how many times they are brought nearer.

    Returns:
        Of the same shape; zero for a matrix of zeros.
    """
    wide = matrices.shape[1] < matrices.shape[2]
    x = matrices if wide else jnp.swapaxes(matrices, 1, 2)
    norms = jnp.linalg.norm(x, axis=(1, 2), keepdims=True)
    x = x / jnp.where(norms > 0, norms, 1.0)
    for _ in range(iterations):
        gram = product(x, jnp.swapaxes(x, 1, 2).conj())
        x = 1.5 * x - 0.5 * product(gram, x)
    return x if wide else jnp.swapaxes(x, 1, 2)

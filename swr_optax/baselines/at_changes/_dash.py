"""DASH: weights shrink by how little the new data ask for their direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from swr_optax._norms import widened
from swr_optax._tree import Tree
from swr_optax.baselines._arguments import check_alike, check_number, check_real
from swr_optax.baselines._matrices import kernel_axes_of
from swr_optax.planning import Leaf, RescalingPlan
from swr_optax.planning._arguments import check_plan
from swr_optax.planning.plan import rows_of
from swr_optax.planning.plan._paths import is_masked


def dash(
    params: Tree,
    descent: Tree,
    plan: RescalingPlan,
    *,
    smallest: float | jax.Array = 0.3,
    kernel_axes: Callable[[Leaf], tuple[int, ...]] | None = None,
) -> Tree:
    r"""Shrinks each neuron's weights by their alignment with descent on new data.

    With w the incoming weights of a neuron and v the moving average of the negative
    gradient of the loss there (see :func:`accumulate_descent`),

    .. math:: w \leftarrow \operatorname{clip}(\cos(v, w), \lambda, 1) \; w .

    As in the authors' code, a convolution has a factor for each pair of an output
    and an input channel, from the cosine over the positions of the kernel, and the
    biases of a layer have one factor together.  What normalises is left alone, and
    so is a weight whose axes the plan cannot follow; a table of embeddings, which
    their networks do not have, counts as a linear map.  Norms change: call
    :func:`reset_reference_norms` after it if SWR is to hold the new ones.

    Example:
        >>> import jax.numpy as jnp, swr_optax
        >>> params = {"w": jnp.array([[1.0, 1.0], [0.0, 0.0]])}
        >>> plan = swr_optax.plan_rescaling(
        ...     lambda p, x: x @ p["w"], params, jnp.ones((1, 2)))
        >>> descent = {"w": jnp.array([[2.0, -1.0], [0.0, 0.0]])}
        >>> print(swr_optax.dash(params, descent, plan)["w"])
        [[1.  0.3]
         [0.  0. ]]

    Args:
        params: the parameters now.
        descent: moving average of the negative gradient, of the same structure.
        plan: of the network: which are weights, and along which axes.
        smallest: :math:`\lambda`, the least factor, from 0 to 1; may be traced.
        kernel_axes: the axes of a weight along which a convolution's kernel has its
            positions; none for a linear map.  By default a weight with one axis of
            outputs and three or more of inputs is a convolution, and the input axis
            next to that of the outputs is the channels'.

    Returns:
        The new parameters, of the same types as before.

    Raises:
        ValueError: if the plan is not for these parameters, ``descent`` is not like
            them, or ``smallest`` is out of its range.
        TypeError: if ``smallest`` is not a number, ``plan`` no plan, or a parameter
            complex.

    References:
        Shin, Oh, Cho and Yun, `DASH: Warm-Starting Neural Network Training in
        Stationary Settings without Loss of Plasticity
        <https://arxiv.org/abs/2410.23495>`_, 2024.
    """
    check_plan(plan)
    check_number(smallest, "smallest", most=1)
    check_real(params, "dash")
    places = plan.match_params(params)
    check_alike(descent, params, "descent")
    leaves = jax.tree.leaves(params, is_leaf=is_masked)
    structure: Any = jax.tree.structure(params, is_leaf=is_masked)
    weights = {row: plan.leaves[row] for row in plan.weights}
    # The biases of layers that mix inputs, not of normalisations.
    mixing = {k for k, row in enumerate(plan.weights) if weights[row].input_axes}

    def axes_of(leaf: Leaf, row: int) -> tuple[int, ...]:
        """The axes over which the cosine is taken; none: it is left alone."""
        if row in weights and leaf.output_axes:
            kernel = (kernel_axes or kernel_axes_of)(leaf)
            return kernel or leaf.input_axes
        if leaf.role == "shift" and leaf.layer in mixing:
            return tuple(range(len(leaf.shape)))
        return ()

    def shrunk(place: int | slice | None, p: Any, v: Any) -> Any:
        if place is None:
            return p
        if isinstance(place, int):
            return _scaled(p, v, axes_of(plan.leaves[place], place), smallest)
        rows = rows_of(place)
        return jnp.stack(
            [
                _scaled(p[i], v[i], axes_of(plan.leaves[row], row), smallest)
                for i, row in enumerate(rows)
            ]
        )

    return structure.unflatten(
        map(shrunk, places, leaves, structure.flatten_up_to(descent))
    )


def accumulate_descent(
    descent: Tree, grads: Tree, rate: float | jax.Array = 0.3
) -> Tree:
    r"""The moving average of the negative gradient after one more batch.

    :math:`v \leftarrow (1 - \alpha) v - \alpha g`, from zeros on, over one pass of
    the new data with the parameters as they are.

    Example:
        >>> import jax, jax.numpy as jnp, swr_optax
        >>> params = {"w": jnp.ones(2)}
        >>> descent = jax.tree.map(jnp.zeros_like, params)
        >>> for grads in ({"w": jnp.ones(2)}, {"w": -jnp.ones(2)}):
        ...     descent = swr_optax.accumulate_descent(descent, grads)
        >>> print(descent["w"].round(3))
        [0.09 0.09]

    Args:
        descent: before the batch.
        grads: of the loss on the batch.
        rate: :math:`\alpha`, from 0 to 1; may be traced.

    Returns:
        Of the same structure and types as ``descent``.

    Raises:
        ValueError: if ``rate`` is out of its range, or ``grads`` are not like
            ``descent``.
        TypeError: if ``rate`` is not a number.
    """
    check_number(rate, "rate", most=1)
    check_alike(grads, descent, "grads")
    return jax.tree.map(
        lambda v, g: ((1 - rate) * v - rate * g).astype(v.dtype), descent, grads
    )


def _scaled(
    p: jax.Array, v: jax.Array, axes: tuple[int, ...], smallest: float | jax.Array
) -> jax.Array:
    """A parameter times the clipped cosine of it and another array."""
    if not axes:
        return p
    a, b = widened(p), widened(v)
    norms = [jnp.sqrt(jnp.sum(x**2, axes, keepdims=True)) for x in (a, b)]
    # As PyTorch guards a cosine: no norm is below 1e-8.
    floor = np.float32(1e-8)
    length = jnp.maximum(norms[0], floor) * jnp.maximum(norms[1], floor)
    cosine = jnp.sum(a * b, axes, keepdims=True) / length
    return (jnp.clip(cosine, smallest, 1) * a).astype(p.dtype)

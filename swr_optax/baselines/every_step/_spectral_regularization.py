"""Spectral regularisation: the largest singular values stay near one."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from swr_optax._arguments import is_placeholder
from swr_optax._norms import widened
from swr_optax.baselines._arguments import (
    Scalar,
    check_number,
    check_params,
    own_key,
    value_at,
    zero_count,
)
from swr_optax.baselines._matrices import matrices_of, product
from swr_optax.baselines._parameters import (
    are_weights,
    axes_of_slice,
    map_parameters,
)
from swr_optax.planning import RescalingPlan
from swr_optax.planning._arguments import check_plan
from swr_optax.planning._rescale import factor_of
from swr_optax.planning.plan._paths import is_masked


class SpectralRegularizationState(NamedTuple):
    """State of :func:`spectral_regularization`.

    Attributes:
        count: steps taken; int32, scalar.
        vectors: estimates of the first right singular vectors of the weights in
            each array, in tree order; each of shape (weights in it, inputs), float32
            or float64 if the weight is.
    """

    count: jax.Array  # type: ignore[assignment]
    vectors: tuple[jax.Array, ...]


def spectral_regularization(
    coefficient: Scalar,
    plan: RescalingPlan,
    *,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Draws each layer's largest singular value to one and its bias to zero.

    Adds the gradient of

    .. math::
        \lambda \sum_l \left( \sigma_1(W_l)^2 - 1 \right)^2 + \|b_l\|^4 ,

    which for a weight is :math:`4 \lambda \sigma_1 (\sigma_1^2 - 1) u_1 v_1^\top`
    and for a bias :math:`4 \lambda \|b\|^2 b`.  Chain it before the optimiser.  The
    singular vectors come from one power iteration a step, which goes on from where
    the last one ended; so the first few steps see a value that is too small.

    A convolution is read as the matrix of its outputs × (inputs · kernel), whose
    largest singular value is not that of the convolution as a map of images.  The
    scale of a normalisation layer is read as a diagonal matrix, whose largest
    singular value is its largest entry, and every shift is a bias.

    With :func:`soft_weight_rescaling` behind, the two agree only where the norms of
    the initial weights go with singular values of one.

    Example:
        >>> import jax.numpy as jnp, optax, swr_optax
        >>> params = {"w": jnp.ones((4, 2))}
        >>> plan = swr_optax.plan_rescaling(
        ...     lambda p, x: x @ p["w"], params, jnp.ones((1, 4)))
        >>> tx = optax.chain(
        ...     swr_optax.spectral_regularization(1e-4, plan), optax.adam(1e-3))
        >>> updates, _ = tx.update(params, tx.init(params), params)

    Args:
        coefficient: :math:`\lambda`, not negative; a number, a traced scalar or a
            schedule.  The authors' is 1e-4.
        plan: of the network whose parameters these are: which are weights, and
            along which axes.
        key: seed or key from which the first vectors are drawn.

    Returns:
        A transformation whose ``update`` needs ``params`` and keeps the types of the
        updates.  Its state is a :class:`SpectralRegularizationState`.  Parameters
        that are neither weights nor shifts of the plan pass.

    Raises:
        ValueError: if the coefficient is negative; in ``update`` without ``params``
            or if the plan is not for them.
        TypeError: if the coefficient is no number and no schedule.

    References:
        Lewandowski et al., `Learning Continually by Spectral Regularization
        <https://arxiv.org/abs/2406.06811>`_, 2025.
    """
    check_plan(plan)
    check_number(coefficient, "coefficient", schedule=True)
    weights = are_weights(plan)
    are_shifts = np.array([leaf.role == "shift" for leaf in plan.leaves])
    only_scale = weights & [not leaf.input_axes for leaf in plan.leaves]

    def init_fn(params: optax.Params) -> SpectralRegularizationState:
        if is_placeholder(params):
            return SpectralRegularizationState(zero_count(), ())
        arrays = jax.tree.leaves(params, is_leaf=is_masked)
        blocks = matrices_of(plan, params)
        keys = jax.random.split(own_key(key), len(blocks))
        vectors = []
        for block, own in zip(blocks, keys, strict=True):
            shape = jax.eval_shape(block.read, arrays[block.position])
            normal = jax.random.normal(own, shape.shape[::2], shape.dtype)
            vectors.append(_unit(normal))
        return SpectralRegularizationState(zero_count(), tuple(vectors))

    def update_fn(
        updates: optax.Updates,
        state: SpectralRegularizationState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, SpectralRegularizationState]:
        del extra_args
        check_params(params, "spectral_regularization")
        weight = value_at(coefficient, state.count)

        def shifts_and_scales(
            place: int | slice, p: jax.Array, u: jax.Array
        ) -> jax.Array:
            if not (are_shifts | only_scale)[place].any():
                return u
            wide, axes = widened(p), axes_of_slice(p, place)
            size = jnp.abs(wide)
            of_shift = 4 * jnp.sum(size**2, axis=axes, keepdims=True) * wide
            largest = size == jnp.max(size, axis=axes, keepdims=True, initial=0)
            share = largest / jnp.sum(largest, axis=axes, keepdims=True)
            of_scale = 4 * share * wide * (size**2 - 1)
            gradient = jnp.where(factor_of(p, only_scale, place), of_scale, 0)
            gradient = jnp.where(factor_of(p, are_shifts, place), of_shift, gradient)
            return u + weight * gradient

        structure: Any = jax.tree.structure(params, is_leaf=is_masked)
        arrays = jax.tree.leaves(params, is_leaf=is_masked)
        changes = structure.flatten_up_to(
            map_parameters(shifts_and_scales, plan, params, updates)
        )
        vectors = []
        for block, right in zip(matrices_of(plan, params), state.vectors, strict=True):
            matrices = block.read(arrays[block.position])
            left = _unit(product(matrices, right[..., None])[..., 0])
            row = left[:, None].conj()
            right = _unit(product(row, matrices)[:, 0].conj())
            vectors.append(right)
            change = changes[block.position]
            if change is None:
                continue
            sigma = product(row, product(matrices, right[..., None])).real
            outer = left[..., None] * right[:, None].conj()
            gradient = 4 * sigma * (sigma**2 - 1) * outer
            changes[block.position] = block.write(
                change, block.read(change) + weight * gradient
            )
        return structure.unflatten(changes), SpectralRegularizationState(
            optax.safe_increment(state.count), tuple(vectors)
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _unit(vectors: jax.Array) -> jax.Array:
    """The vectors along the last axis with length one; zero stays zero."""
    lengths = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / jnp.where(lengths > 0, lengths, 1.0)

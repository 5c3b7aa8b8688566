"""Decoupled decay towards orthogonal weights, as in AdamO."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from swr_optax.baselines._arguments import (
    Scalar,
    check_number,
    check_params,
    value_at,
    zero_count,
)
from swr_optax.baselines._matrices import matrices_of, product
from swr_optax.planning import RescalingPlan
from swr_optax.planning._arguments import check_plan
from swr_optax.planning.plan._paths import is_masked


class OrthogonalDecayState(NamedTuple):
    """State of :func:`orthogonal_decay`.

    Attributes:
        count: steps taken; int32, scalar.
    """

    count: jax.Array  # type: ignore[assignment]


def orthogonal_decay(
    learning_rate: Scalar, coefficient: Scalar, plan: RescalingPlan
) -> optax.GradientTransformationExtraArgs:
    r"""Draws all singular values of each weight towards one, past the optimiser.

    With W a weight as outputs × inputs, it subtracts

    .. math:: \eta \lambda \, 4 W (W^\top W - I) ,

    where the authors have :math:`\lambda \|W^\top W - I\|^2` for a penalty if there
    are at least as many outputs as inputs, and :math:`\lambda \|W W^\top - I\|^2`
    if not: the two have the same gradient, which is computed on the smaller side.
    Behind :func:`optax.adam` with the same learning rate this is AdamO: chain it
    there, so that Adam does not rescale it.

    A convolution is read as outputs × (inputs · kernel).  Scales of normalisation
    layers and biases are left alone.  The step is stable while :math:`\eta \lambda`
    times four times the largest singular value squared is well below one.  Behind
    it :func:`soft_weight_rescaling` draws to the initial norms, which go with
    singular values of one only for an orthogonal initialisation.  Another optimiser
    of the year is named AdamO too (2602.05136).

    Example:
        >>> import jax.numpy as jnp, optax, swr_optax
        >>> params = {"w": 2 * jnp.eye(2)}
        >>> plan = swr_optax.plan_rescaling(
        ...     lambda p, x: x @ p["w"], params, jnp.ones((1, 2)))
        >>> tx = optax.chain(
        ...     optax.adam(0.01), swr_optax.orthogonal_decay(0.01, 0.1, plan))
        >>> zero = {"w": jnp.zeros((2, 2))}
        >>> updates, _ = tx.update(zero, tx.init(params), params)
        >>> print(jnp.diag(updates["w"]))
        [-0.024 -0.024]

    Args:
        learning_rate: :math:`\eta`, not negative; a number, a traced scalar or a
            schedule: that of the optimiser, by default the authors' choice.
        coefficient: :math:`\lambda`, not negative; of the same types.
        plan: of the network whose parameters these are: which are weights, and
            along which axes.

    Returns:
        A transformation whose ``update`` needs ``params`` and keeps the types of the
        updates.  Its state is an :class:`OrthogonalDecayState`.

    Raises:
        ValueError: if a coefficient is negative; in ``update`` without ``params`` or
            if the plan is not for them.
        TypeError: if a coefficient is no number and no schedule.

    References:
        Rosseau, Müller and Nowé, `Preserving Plasticity in Continual Learning via
        Dynamical Isometry <https://arxiv.org/abs/2606.09762>`_, 2026.
    """
    check_plan(plan)
    check_number(learning_rate, "learning_rate", schedule=True)
    check_number(coefficient, "coefficient", schedule=True)

    def init_fn(_: optax.Params) -> OrthogonalDecayState:
        return OrthogonalDecayState(zero_count())

    def update_fn(
        updates: optax.Updates,
        state: OrthogonalDecayState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, OrthogonalDecayState]:
        del extra_args
        check_params(params, "orthogonal_decay")
        rate = value_at(learning_rate, state.count) * value_at(coefficient, state.count)
        structure: Any = jax.tree.structure(params, is_leaf=is_masked)
        arrays = jax.tree.leaves(params, is_leaf=is_masked)
        changes = structure.flatten_up_to(updates)
        for block in matrices_of(plan, params):
            change = changes[block.position]
            if change is None:
                continue
            pull = isometry_gradient(block.read(arrays[block.position]))
            changes[block.position] = block.write(
                change, block.read(change) - rate * pull
            )
        return structure.unflatten(changes), OrthogonalDecayState(
            optax.safe_increment(state.count)
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def isometry_gradient(matrices: jax.Array) -> jax.Array:
    """Gradient of the squared deviation from isometry, by the smaller Gram matrix.

    Args:
        matrices: shape (matrices, outputs, inputs).

    Returns:
        Of the same shape.
    """
    turned = jnp.swapaxes(matrices, 1, 2).conj()
    one = jnp.eye(min(matrices.shape[1:]), dtype=matrices.dtype)
    if matrices.shape[1] < matrices.shape[2]:
        return 4 * product(product(matrices, turned) - one, matrices)
    return 4 * product(matrices, product(turned, matrices) - one)

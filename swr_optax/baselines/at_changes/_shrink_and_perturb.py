"""Shrink and perturb: part of the way to other parameters."""

from __future__ import annotations

import jax

from swr_optax._tree import Tree
from swr_optax.baselines._arguments import check_alike, check_number


def shrink_and_perturb(
    params: Tree,
    initial_params: Tree,
    coefficient: float | jax.Array,
) -> Tree:
    r"""Moves a fraction of the way to other parameters, when the data change.

    :math:`\theta \leftarrow (1 - \lambda) \theta + \lambda \theta_0`.

    Example:
        >>> import jax.numpy as jnp, swr_optax
        >>> print(swr_optax.shrink_and_perturb(jnp.ones(2), jnp.zeros(2), 0.4))
        [0.6 0.6]

    Args:
        params: the parameters now.
        initial_params: parameters at or like those at initialisation.
        coefficient: :math:`\lambda` from 0 (none) to 1 (all the way); unchecked
            where it is traced.

    Returns:
        The new parameters, of the same types as before.

    Raises:
        ValueError: if the coefficient is outside [0, 1], or if the initial
            parameters are not like the parameters.
        TypeError: if it is not a number.

    References:
        Ash and Adams, `On Warm-Starting Neural Network Training
        <https://arxiv.org/abs/1910.08475>`_, 2020; with the initial parameters
        as the perturbation, as in the paper on SWR.
    """
    check_number(coefficient, "coefficient", most=1)
    check_alike(initial_params, params, "initial_params")

    def moved(p: jax.Array, p0: jax.Array) -> jax.Array:
        return ((1 - coefficient) * p + coefficient * p0).astype(p.dtype)

    return jax.tree.map(moved, params, initial_params)

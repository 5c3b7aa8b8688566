"""How many directions a layer's features make use of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import entr


def effective_rank(features: jax.typing.ArrayLike) -> jax.Array:
    r"""Effective rank: the exponential of the singular values' entropy.

    :math:`\exp(-\sum_i p_i \log p_i)` with :math:`p_i = \sigma_i / \sum_j
    \sigma_j`.  Features are taken as they are, not centred.

    Example:
        >>> import jax.numpy as jnp, swr_optax
        >>> print(f"{swr_optax.metrics.effective_rank(jnp.eye(5, 3)):.4f}")
        3.0000
        >>> print(f"{swr_optax.metrics.effective_rank(jnp.ones((5, 3))):.4f}")
        1.0000

    Args:
        features: of one layer, of shape (examples, dims).

    Returns:
        A scalar, float32 (float64 if the features are): from 1, if all features
        are multiples of one vector, to the smaller of the two sizes; 0 for a
        matrix of zeros.

    Raises:
        ValueError: if the features are no matrix.

    References:
        Roy and Vetterli, `The Effective Rank: a Measure of Effective
        Dimensionality <https://ieeexplore.ieee.org/document/7098875>`_, EUSIPCO
        2007.
    """
    matrix = jnp.asarray(features)
    if matrix.ndim != 2:
        raise ValueError(
            f"features must be of shape (examples, dims), not {matrix.shape}"
        )
    matrix = matrix.astype(jnp.promote_types(matrix.dtype, jnp.float32))
    values = jnp.linalg.svd(matrix, compute_uv=False)
    total = values.sum()
    shares = values / jnp.where(total, total, 1)
    return jnp.where(total, jnp.exp(entr(shares).sum()), 0.0)

"""How far a rescaled network's outputs are from a multiple of the old ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from swr_optax.planning._check import relative_deviation


def proportionality_error(
    outputs: jax.typing.ArrayLike, rescaled: jax.typing.ArrayLike
) -> jax.Array:
    r"""Deviation of a network's new outputs from the best multiple of the old.

    With :math:`k` the least-squares solution of :math:`k f = f'`, that is
    :math:`\max |f' - k f| / \max |k f|`.  Where the constant is known,
    :func:`swr_optax.check` measures the same with it; rescaling by a plan of
    which nothing is ``unmet`` leaves about 1e-6 in float32.

    Example:
        >>> import jax.numpy as jnp, swr_optax
        >>> logits = jnp.array([[1.0, -2.0], [0.5, 4.0]])
        >>> print(swr_optax.metrics.proportionality_error(logits, 3 * logits))
        0.0

    Args:
        outputs: of the network before; any shape, floating point or complex.
        rescaled: its outputs on the same inputs after; of the same shape.

    Returns:
        A scalar, float32 (float64 if an output is): 0 if the new outputs are a
        multiple of the old, as all zeros are of any; infinite if they are not
        zero and their best multiple is; NaN if an entry is not finite.

    Raises:
        ValueError: if the shapes differ.
    """
    old, new = jnp.asarray(outputs), jnp.asarray(rescaled)
    if old.shape != new.shape:
        raise ValueError(
            f"outputs and rescaled must have one shape, not {old.shape} and {new.shape}"
        )
    dtype = jnp.promote_types(jnp.result_type(old, new), jnp.float32)
    old, new = old.astype(dtype), new.astype(dtype)
    square = jnp.vdot(old, old, precision="highest").real
    constant = jnp.vdot(old, new, precision="highest") / jnp.where(square, square, 1)
    error = relative_deviation(new, constant * old)
    finite = jnp.isfinite(old).all() & jnp.isfinite(new).all()
    return jnp.where(finite, error, jnp.nan)

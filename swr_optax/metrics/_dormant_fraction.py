"""How many units of a layer have fallen silent."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def dormant_fraction(
    activations: jax.typing.ArrayLike, threshold: float = 0.0
) -> jax.Array:
    r"""Share of a layer's units that are :math:`\tau`-dormant.

    A unit is, if its mean absolute activation is at most :math:`\tau` times the
    average of that over the layer's units.  With :math:`\tau = 0` that is the
    share of dead units, which no example activates.

    Example:
        >>> import jax.numpy as jnp, swr_optax
        >>> hidden = jnp.array([[0.0, 1.0, 0.1, 3.0], [0.0, 2.0, 0.0, 0.0]])
        >>> print(swr_optax.metrics.dormant_fraction(hidden))
        0.25
        >>> print(swr_optax.metrics.dormant_fraction(hidden, threshold=0.1))
        0.5

    Args:
        activations: of one layer, behind its nonlinearity; of shape (examples,
            ..., units), where of an image's channel all places count.
        threshold: :math:`\tau`, not negative.

    Returns:
        A scalar from 0 to 1; 1 for a layer that is all zeros, NaN for one in which
        any activation is NaN.

    Raises:
        ValueError: if the activations have no axis of examples and one of units, or
            if the threshold is negative.

    References:
        Sokar, Agarwal, Castro and Evci, `The Dormant Neuron Phenomenon in Deep
        Reinforcement Learning <https://arxiv.org/abs/2302.12902>`_, ICML 2023,
        definition 3.1.
    """
    values = jnp.asarray(activations)
    if values.ndim < 2:
        raise ValueError(
            f"activations must be of shape (examples, ..., units), not {values.shape}"
        )
    if not isinstance(threshold, jax.core.Tracer) and not threshold >= 0:
        raise ValueError(f"threshold must not be negative, not {threshold}")
    wide = jnp.promote_types(values.dtype, jnp.float32)
    means = jnp.abs(values.astype(wide)).mean(axis=range(values.ndim - 1))
    average = means.mean()
    share = (means <= threshold * average).mean()
    return jnp.where(jnp.isnan(average), jnp.nan, share)

"""Layers that the networks share, initialised as PyTorch's are by default."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

torch_kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""Uniform in ±1/√fan_in; the reference norms come from this."""


def torch_bias_init(fan_in: int) -> nn.initializers.Initializer:
    """Uniform in ±1/√fan_in, with the fan-in of the kernel next to the bias."""
    limit = fan_in**-0.5

    def init(
        key: jax.Array, shape: Sequence[int], dtype: jnp.dtype = jnp.float32
    ) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def dense(x: jax.Array, features: int) -> jax.Array:
    """A fully connected layer, PyTorch's ``Linear``."""
    return nn.Dense(
        features,
        kernel_init=torch_kernel_init,
        bias_init=torch_bias_init(x.shape[-1]),
    )(x)


def conv(
    x: jax.Array,
    channels: int,
    size: int,
    *,
    stride: int = 1,
    padding: int = 1,
    use_bias: bool = False,
) -> jax.Array:
    """A convolution with square windows, PyTorch's ``Conv2d``."""
    return nn.Conv(
        channels,
        kernel_size=(size, size),
        strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        use_bias=use_bias,
        kernel_init=torch_kernel_init,
        bias_init=torch_bias_init(size * size * x.shape[-1]),
    )(x)


def batch_norm(x: jax.Array, train: bool, present: jax.Array | None) -> jax.Array:
    """Normalisation over batch, height and width, PyTorch's ``BatchNorm2d``.

    Args:
        x: (batch, height, width, channels).
        train: whether the batch's statistics count, or the running ones.
        present: bool, (batch,), which images enter into the batch's statistics;
            by default, all.
    """
    mask = None if present is None else present[:, None, None, None]
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)(
        x, mask=mask
    )


def max_pool(x: jax.Array) -> jax.Array:
    """Maximum over 2×2 windows that do not overlap; an odd border is dropped.

    Reshaping gives the same as ``nn.max_pool``, whose gradient is slow on CPUs.
    """
    n, height, width, channels = x.shape
    rows, columns = height // 2, width // 2
    x = x[:, : 2 * rows, : 2 * columns]
    return x.reshape(n, rows, 2, columns, 2, channels).max(axis=(2, 4))


def relu(module: nn.Module, x: jax.Array) -> jax.Array:
    """ReLU, whose results metrics find in the collection ``activations``."""
    x = nn.relu(x)
    module.sow("activations", "relu", x)
    return x


def features(module: nn.Module, x: jax.Array) -> jax.Array:
    """What the last layer classifies; metrics find it under the same name."""
    module.sow("features", "last", x)
    return x

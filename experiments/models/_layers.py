"""Layers that the networks share, initialised as PyTorch's are by default."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.backend.pooling import pooled_convolution

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


def dense(x: jax.Array, features: int, name: str | None = None) -> jax.Array:
    """A fully connected layer, PyTorch's ``Linear``."""
    return nn.Dense(
        features,
        kernel_init=torch_kernel_init,
        bias_init=torch_bias_init(x.shape[-1]),
        name=name,
    )(x)


def conv(
    x: jax.Array,
    channels: int,
    size: int,
    *,
    stride: int = 1,
    padding: int = 1,
    bias: bool = False,
) -> jax.Array:
    """A convolution with square windows, PyTorch's ``Conv2d``."""
    return nn.Conv(
        channels,
        kernel_size=(size, size),
        strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        use_bias=bias,
        kernel_init=torch_kernel_init,
        bias_init=torch_bias_init(size * size * x.shape[-1]),
    )(x)


def conv_max_pool(
    x: jax.Array, channels: int, size: int, padding: int = 1
) -> jax.Array:
    """A convolution and then a maximum over 2×2 windows.

    The maximum of sums with one bias is the maximum's sum with it, so the convolution
    itself may pool before the bias is added.

    Args:
        x: (batch, height, width, channels).
        channels: of the result.
        size: of the square windows, odd.
        padding: zeros on each side.
    """
    return nn.Conv(
        channels,
        kernel_size=(size, size),
        padding=padding,
        conv_general_dilated=pooled_convolution,
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


def activation(module: nn.Module, x: jax.Array) -> jax.Array:
    """What hidden units put out; metrics find it in the collection ``activations``."""
    module.sow("activations", "units", x)
    return x


def relu(module: nn.Module, x: jax.Array) -> jax.Array:
    """ReLU, whose results metrics find as those of :func:`activation`."""
    return activation(module, nn.relu(x))


def leaky_relu(module: nn.Module, x: jax.Array, slope: float) -> jax.Array:
    """Leaky ReLU; a unit that is never positive is as dead as it can be."""
    activation(module, nn.relu(x))
    return nn.leaky_relu(x, slope)


def features(module: nn.Module, x: jax.Array) -> jax.Array:
    """What the last layer classifies; metrics find it under the same name."""
    module.sow("features", "last", x)
    return x

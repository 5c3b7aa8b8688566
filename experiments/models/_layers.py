"""Layers that the networks share, initialised as PyTorch's are by default."""

from __future__ import annotations

from collections.abc import Sequence
import functools

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
    """A convolution and then :func:`max_pool`, faster on a CPU than one by one.

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
        conv_general_dilated=_pooled_convolution,
        kernel_init=torch_kernel_init,
        bias_init=torch_bias_init(size * size * x.shape[-1]),
    )(x)


def _pooled_convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    **_: object,
) -> jax.Array:
    """Maxima of 2×2 products: one convolution of blocks of 2×2 pixels.

    A block's pixels are channels, 4 times as many, and so are the four products whose
    maximum counts. An image's three channels alone are too few to fill a processor's
    registers. The kernel for each product is the same, shifted by a pixel.
    """
    size, (before, after) = kernel.shape[0], padding[0]
    sides = [(side + before + after - size + 1) // 2 * 2 for side in x.shape[1:3]]
    # Rows and columns that these products meet, from the padding on.
    edges = [
        (before, side + size - 1 - before - whole, 0)
        for side, whole in zip(sides, x.shape[1:3], strict=True)
    ]
    x = jax.lax.pad(x, 0.0, [(0, 0, 0), *edges, (0, 0, 0)])
    shifted = [
        jnp.pad(kernel, [(i, 1 - i), (j, 1 - j), (0, 0), (0, 0)])
        for i in range(2)
        for j in range(2)
    ]
    products = jax.lax.conv_general_dilated(
        _blocks(x),
        _blocks(jnp.concatenate(shifted, axis=-1), axis=0),
        window_strides=strides,
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return functools.reduce(_larger, jnp.split(products, 4, axis=-1))


def _blocks(x: jax.Array, axis: int = 1) -> jax.Array:
    """Blocks of 2×2 along two axes from ``axis`` on, moved into the one behind them."""
    *front, height, width, channels = x.shape[: axis + 3]
    rest = x.shape[axis + 3 :]
    x = x.reshape(*front, height // 2, 2, width // 2, 2, channels, *rest)
    x = jnp.moveaxis(x, axis + 1, axis + 2)
    return x.reshape(*front, height // 2, width // 2, 4 * channels, *rest)


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

    The four corners' maximum is that of ``nn.max_pool``, whose gradient is slow on
    CPUs.
    """
    height, width = (side // 2 * 2 for side in x.shape[1:3])
    x = x[:, :height, :width]
    corners = [x[:, i::2, j::2] for i in range(2) for j in range(2)]
    return functools.reduce(_larger, corners)


def _larger(x: jax.Array, y: jax.Array) -> jax.Array:
    """The maximum; of two that are equal the first is differentiated, as in PyTorch.

    The gradient of ``jnp.maximum`` asks which operand equals the result. XLA may
    compute an operand anew for that, round it otherwise and find none.
    """
    return jnp.where(x >= y, x, y)


def activation(module: nn.Module, x: jax.Array) -> jax.Array:
    """What hidden units put out; metrics find it in the collection ``activations``."""
    module.sow("activations", "units", x)
    return x


def relu(module: nn.Module, x: jax.Array) -> jax.Array:
    """ReLU, whose results metrics find as those of :func:`activation`."""
    return activation(module, nn.relu(x))


def features(module: nn.Module, x: jax.Array) -> jax.Array:
    """What the last layer classifies; metrics find it under the same name."""
    module.sow("features", "last", x)
    return x

"""The paper's networks in Flax linen, initialised as PyTorch's layers are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

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


def conv(x: jax.Array, channels: int, use_bias: bool) -> jax.Array:
    """A 5×5 convolution with stride 1 and padding 1, PyTorch's ``Conv2d``."""
    return nn.Conv(
        channels,
        kernel_size=(5, 5),
        padding=((1, 1), (1, 1)),
        use_bias=use_bias,
        kernel_init=torch_kernel_init,
        bias_init=torch_bias_init(25 * x.shape[-1]),
    )(x)


def max_pool(x: jax.Array) -> jax.Array:
    """Maximum over 2×2 windows that do not overlap; an odd border is dropped.

    Reshaping gives the same as ``nn.max_pool``, whose gradient is slow on CPUs.
    """
    n, height, width, channels = x.shape
    rows, columns = height // 2, width // 2
    x = x[:, : 2 * rows, : 2 * columns]
    return x.reshape(n, rows, 2, columns, 2, channels).max(axis=(2, 4))


class MLP(nn.Module):
    """Fully connected layers with ReLU between them: 100–100–classes."""

    classes: int
    hidden: Sequence[int] = (100, 100)

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        train: bool = False,
        present: jax.Array | None = None,
    ) -> jax.Array:
        """Logits, (batch, classes), of images (batch, height, width, channels)."""
        del train, present
        x = images.reshape(images.shape[0], -1)
        for features in self.hidden:
            x = nn.relu(dense(x, features))
        return dense(x, self.classes)


class CNN(nn.Module):
    """Two 5×5 convolutions of 16 channels with max-pooling, then 100–classes.

    Attributes:
        classes: number of logits.
        batch_norm: whether a BatchNorm follows each convolution, which then has
            no bias (the paper's CNN-BN).
    """

    classes: int
    batch_norm: bool = False

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        train: bool = False,
        present: jax.Array | None = None,
    ) -> jax.Array:
        """Logits, (batch, classes), of images (batch, height, width, channels).

        Args:
            images: float32.
            train: whether BatchNorm goes by the batch's statistics.
            present: which of the images count for them; by default, all.
        """
        x = images
        mask = None if present is None else present[:, None, None, None]
        for _ in range(2):
            x = conv(x, 16, use_bias=not self.batch_norm)
            if self.batch_norm:
                x = nn.BatchNorm(
                    use_running_average=not train, momentum=0.9, epsilon=1e-5
                )(x, mask=mask)
            x = max_pool(nn.relu(x))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(dense(x, 100))
        return dense(x, self.classes)


class Model(NamedTuple):
    """An entry of :data:`MODELS`.

    Attributes:
        build: the network for a number of classes.
        smallest: side of the smallest images of which pooling leaves something.
    """

    build: Callable[[int], nn.Module]
    smallest: int = 1


MODELS: dict[str, Model] = {
    "mlp": Model(MLP),
    "cnn": Model(CNN, smallest=10),
    "cnn_bn": Model(lambda classes: CNN(classes, batch_norm=True), smallest=10),
}
"""By name; a new model is one entry."""

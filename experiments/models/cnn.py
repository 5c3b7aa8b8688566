"""The paper's small convolutional network, and its relatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax

from experiments.backend.pooling import max_pool
from experiments.models._layers import (
    activation,
    batch_norm,
    conv,
    conv_max_pool,
    dense,
    features,
    relu,
)


class CNN(nn.Module):
    """Two 5×5 convolutions of 16 channels with max-pooling, then 100–classes.

    Attributes:
        classes: number of logits.
        batch_norm: whether a BatchNorm follows each convolution, which then has
            no bias (the paper's CNN-BN).
        hidden: units of the fully connected layers in front of the logits.
        padding: zeros on each side of what is convolved.
    """

    classes: int
    batch_norm: bool = False
    hidden: Sequence[int] = (100,)
    padding: int = 1

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
        for _ in range(2):
            if self.batch_norm:
                x = conv(x, 16, size=5, padding=self.padding)
                x = max_pool(relu(self, batch_norm(x, train, present)))
            else:  # In either order.
                x = relu(self, conv_max_pool(x, 16, size=5, padding=self.padding))
        x = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            x = relu(self, dense(x, width))
        return dense(features(self, x), self.classes)


class PlasticCNN(nn.Module):
    """The same with two hidden layers and what keeps units alive in it.

    Attributes:
        classes: number of logits.
        nonlinearity: behind each layer but the last.
        layer_norm: whether a LayerNorm over an image stands in front of it.
        channels: of the convolutions.
        hidden: units of the fully connected layers.
    """

    classes: int
    nonlinearity: Callable[[jax.Array], jax.Array] = nn.relu
    layer_norm: bool = False
    channels: int = 16
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
        x = images
        for _ in range(2):
            x = self._activate(conv(x, self.channels, size=5, padding=0, bias=True))
            x = max_pool(x)
        x = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            x = self._activate(dense(x, width))
        return dense(features(self, x), self.classes)

    def _activate(self, x: jax.Array) -> jax.Array:
        if self.layer_norm:
            axes = tuple(range(1, x.ndim))
            x = nn.LayerNorm(epsilon=1e-5, reduction_axes=axes)(x)
        return activation(self, self.nonlinearity(x))

"""VGG-16, which the paper trains on TinyImageNet."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax

from experiments.backend.pooling import max_pool
from experiments.models._layers import batch_norm, conv, dense, features, relu

DEPTHS = (2, 2, 3, 3, 3)
"""Convolutions in each of the five groups of configuration D."""


class VGG16(nn.Module):
    """Thirteen 3×3 convolutions with BatchNorm, then 4096–4096–classes.

    Configuration D of Simonyan and Zisserman, arXiv 1409.1556, table 1, with a
    BatchNorm after each convolution, which then has no bias, and without dropout.
    Layers are initialised as PyTorch's are by default, like the paper's others.

    Attributes:
        classes: number of logits.
        widths: channels of the convolutions in each group.
        hidden: features of the two hidden fully connected layers.
    """

    classes: int
    widths: Sequence[int] = (64, 128, 256, 512, 512)
    hidden: int = 4096

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        train: bool = False,
        present: jax.Array | None = None,
    ) -> jax.Array:
        """Logits, (batch, classes), of images (batch, height, width, channels).

        Args:
            images: float32, of at least 32×32 pixels.
            train: whether BatchNorm goes by the batch's statistics.
            present: which of the images count for them; by default, all.
        """
        x = images
        for width, depth in zip(self.widths, DEPTHS, strict=True):
            for _ in range(depth):
                x = relu(self, batch_norm(conv(x, width, size=3), train, present))
            x = max_pool(x)
        x = x.reshape(x.shape[0], -1)
        for _ in range(2):
            x = relu(self, dense(x, self.hidden))
        return dense(features(self, x), self.classes)

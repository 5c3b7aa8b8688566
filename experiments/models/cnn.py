"""The paper's small convolutional network, with and without BatchNorm."""

from __future__ import annotations

import flax.linen as nn
import jax

from experiments.models._layers import (
    batch_norm,
    conv,
    conv_max_pool,
    dense,
    features,
    max_pool,
    relu,
)


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
        for _ in range(2):
            if self.batch_norm:
                x = batch_norm(conv(x, 16, size=5), train, present)
                x = max_pool(relu(self, x))
            else:
                x = relu(self, conv_max_pool(x, 16, size=5))  # In either order.
        x = x.reshape(x.shape[0], -1)
        x = relu(self, dense(x, 100))
        return dense(features(self, x), self.classes)

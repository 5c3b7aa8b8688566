"""The paper's fully connected network."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax

from experiments.models._layers import dense, features, relu


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
        for width in self.hidden:
            x = relu(self, dense(x, width))
        return dense(features(self, x), self.classes)

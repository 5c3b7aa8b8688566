"""The paper's fully connected network, and its relatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.models._layers import activation, dense, features


class MLP(nn.Module):
    """Fully connected layers with a nonlinearity between them: 100–100–classes.

    Attributes:
        classes: number of outputs.
        hidden: units of the hidden layers.
        nonlinearity: behind each hidden layer.
        layer_norm: whether a LayerNorm stands in front of it.
    """

    classes: int
    hidden: Sequence[int] = (100, 100)
    nonlinearity: Callable[[jax.Array], jax.Array] = nn.relu
    layer_norm: bool = False

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        train: bool = False,
        present: jax.Array | None = None,
    ) -> jax.Array:
        """Outputs, (batch, classes), of images (batch, height, width, channels)."""
        del train, present
        x = images.reshape(images.shape[0], -1)
        for width in self.hidden:
            x = dense(x, width)
            if self.layer_norm:
                x = nn.LayerNorm(epsilon=1e-5)(x)
            x = activation(self, self.nonlinearity(x))
        return dense(features(self, x), self.classes)


def crelu(x: jax.Array) -> jax.Array:
    """Positive and negative parts side by side, twice as many (Shang et al., 2016).

    Loss of plasticity: Abbas et al., arXiv 2303.07507.
    """
    return jnp.concatenate([nn.relu(x), nn.relu(-x)], axis=-1)

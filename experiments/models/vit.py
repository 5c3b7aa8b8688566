"""A small vision transformer; the paper names transformers as future work."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.models._layers import features

init = nn.initializers.normal(0.02)
"""Of all weights, the class token and the positions, as in BERT and DeiT (Touvron
et al., arXiv 2012.12877); biases start at zero.  The original starts class token
and head at zero, and a weight without a norm has nothing to be rescaled to."""


def dense(x: jax.Array, features: int) -> jax.Array:
    """A fully connected layer, over the last axis."""
    return nn.Dense(features, kernel_init=init)(x)


def layer_norm(x: jax.Array) -> jax.Array:
    """LayerNorm with the ε of the original."""
    return nn.LayerNorm(epsilon=1e-6)(x)


def patches(images: jax.Array, side: int) -> jax.Array:
    """Images cut into squares, (batch, squares, side · side · channels)."""
    n, height, width, channels = images.shape
    x = images.reshape(n, height // side, side, width // side, side, channels)
    return x.swapaxes(2, 3).reshape(n, -1, side * side * channels)


class EncoderBlock(nn.Module):
    """Self-attention and a two-layer MLP with GELU, each behind a LayerNorm."""

    heads: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """What leaves the block, (batch, tokens, width), like what comes in."""
        width = x.shape[-1]
        attend = nn.MultiHeadDotProductAttention(self.heads, kernel_init=init)
        x = x + attend(layer_norm(x))
        y = nn.gelu(dense(layer_norm(x), 4 * width), approximate=False)
        return x + dense(y, width)


class ViT(nn.Module):
    """A transformer over patches, read out at a class token.

    Dosovitskiy et al., arXiv 2010.11929, with the width and the heads of DeiT-Ti
    (arXiv 2012.12877), half as deep and without dropout.  Its patches go through a
    dense layer, so that nothing of it is slow inside a loop on a CPU.

    Attributes:
        classes: number of logits.
        patch: side of a patch; the images' sides must be multiples of it.
        width: features of a token.
        depth: number of blocks.
        heads: of attention, of which ``width`` must be a multiple.
    """

    classes: int
    patch: int = 4
    width: int = 192
    depth: int = 6
    heads: int = 3

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        train: bool = False,
        present: jax.Array | None = None,
    ) -> jax.Array:
        """Logits, (batch, classes), of images (batch, height, width, channels)."""
        del train, present
        x = dense(patches(images, self.patch), self.width)
        token = self.param("class_token", init, (self.width,))
        token = jnp.broadcast_to(token, (x.shape[0], 1, self.width))
        x = jnp.concatenate([token, x], axis=1)
        x = x + self.param("positions", init, x.shape[1:])
        for _ in range(self.depth):
            x = EncoderBlock(self.heads)(x)
        return dense(features(self, layer_norm(x[:, 0])), self.classes)

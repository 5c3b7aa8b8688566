"""ResNet-18 for small images; the paper has no network with branches."""

from __future__ import annotations

import flax.linen as nn
import jax

from experiments.models._layers import batch_norm, conv, dense, features, relu


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm, added to what came in.

    Where they change the shape, what came in goes through a 1×1 convolution with
    BatchNorm (He et al., arXiv 1512.03385, option B).

    Attributes:
        channels: of the output.
        stride: of the first convolution.
    """

    channels: int
    stride: int

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool, present: jax.Array | None
    ) -> jax.Array:
        """What leaves the block, (batch, height, width, channels)."""
        y = conv(x, self.channels, size=3, stride=self.stride)
        y = relu(self, batch_norm(y, train, present))
        y = batch_norm(conv(y, self.channels, size=3), train, present)
        if x.shape != y.shape:
            x = conv(x, self.channels, size=1, stride=self.stride, padding=0)
            x = batch_norm(x, train, present)
        return relu(self, x + y)


class ResNet18(nn.Module):
    """A 3×3 stem, four stages of two blocks, the mean over pixels, one dense layer.

    He et al., arXiv 1512.03385, with the stem that is usual for small images: one
    3×3 convolution with stride 1 and no pooling.  Initialised as PyTorch's layers
    are by default, as is usual for this variant and as the paper's networks are.

    Attributes:
        classes: number of logits.
        width: channels of the first stage; each further stage has twice as many.
    """

    classes: int
    width: int = 64

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
        x = relu(self, batch_norm(conv(images, self.width, size=3), train, present))
        for stage in range(4):
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                x = BasicBlock(self.width * 2**stage, stride)(x, train, present)
        return dense(features(self, x.mean(axis=(1, 2))), self.classes)

"""The networks of the experiments in Flax linen, in one table.

Each takes ``(images, train=False, present=None)``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn

from experiments.models.actor_critic import (
    AGENT_MODELS,
    HEADS,
    ActorCritic,
    Outputs,
)
from experiments.models.cnn import CNN, PlasticCNN
from experiments.models.mlp import MLP, crelu
from experiments.models.resnet import ResNet18
from experiments.models.vgg import VGG16
from experiments.models.vit import ViT

__all__ = [
    "AGENT_MODELS",
    "CNN",
    "HEADS",
    "MLP",
    "MODELS",
    "VGG16",
    "ActorCritic",
    "Model",
    "Outputs",
    "PlasticCNN",
    "ResNet18",
    "ViT",
]


class Model(NamedTuple):
    """An entry of :data:`MODELS`.

    Attributes:
        build: the network for a number of classes.
        convolutional: whether it convolves; XLA's CPU convolutions are ten times
            slower inside a loop, so such a network steps outside of one there.
        normalises: whether it has normalisation layers.
        quick: how many times as long as the CNN it trains in the profile ``quick``.
        small: whether a step takes little scratch memory; where it takes much, the
            process should keep what it frees.
        smallest: side of the smallest images of which pooling leaves something.
        patch: side of the squares that images are divided into.
        with_layer_norm: name of the same with LayerNorm in front of its
            nonlinearities; empty if there is none.
    """

    build: Callable[[int], nn.Module]
    convolutional: bool = False
    normalises: bool = False
    quick: float = 1.0
    small: bool = False
    smallest: int = 1
    patch: int = 1
    with_layer_norm: str = ""

    def misfit(self, height: int, width: int) -> str | None:
        """Why images of this size do not fit, or None if they do."""
        if min(height, width) < self.smallest:
            return f"pooling leaves nothing of {height}×{width} images"
        if height % self.patch or width % self.patch:
            squares = f"squares of {self.patch}×{self.patch}"
            return f"{height}×{width} images do not divide into {squares}"
        return None


MODELS: dict[str, Model] = {
    "mlp": Model(MLP, quick=10, small=True, with_layer_norm="mlp_layer_norm"),
    "cnn": Model(CNN, convolutional=True, smallest=10),
    "cnn_bn": Model(
        lambda classes: CNN(classes, batch_norm=True),
        convolutional=True,
        normalises=True,
        smallest=10,
    ),
    "vgg16": Model(VGG16, convolutional=True, normalises=True, quick=0.05, smallest=32),
    "resnet18": Model(ResNet18, convolutional=True, normalises=True, quick=0.05),
    "vit": Model(ViT, normalises=True, quick=0.05, patch=ViT.patch),
    # An eighth and a third as wide, and four times the pixels in a patch: for a CPU.
    "resnet18_narrow": Model(
        partial(ResNet18, width=8), convolutional=True, normalises=True, quick=0.2
    ),
    "vit_narrow": Model(
        partial(ViT, patch=8, width=64, heads=2), normalises=True, quick=0.4, patch=8
    ),
    # The streams'.
    "mlp_layer_norm": Model(
        partial(MLP, layer_norm=True), normalises=True, quick=10, small=True
    ),
    "mlp_crelu": Model(
        partial(MLP, hidden=(50, 50), nonlinearity=crelu), quick=10, small=True
    ),
    "mlp_leaky": Model(partial(MLP, nonlinearity=nn.leaky_relu), quick=10, small=True),
    "mlp_five": Model(partial(MLP, hidden=(5,)), quick=10, small=True),
    # L2 Init's, for CIFAR-10: no padding, and one more fully connected layer.
    "cnn_deep": Model(
        partial(CNN, hidden=(100, 100), padding=0),
        convolutional=True,
        smallest=16,
        with_layer_norm="cnn_layer_norm",
    ),
    "cnn_layer_norm": Model(
        partial(PlasticCNN, layer_norm=True),
        convolutional=True,
        normalises=True,
        smallest=16,
    ),
    "cnn_crelu": Model(
        partial(PlasticCNN, nonlinearity=crelu, channels=8, hidden=(50, 50)),
        convolutional=True,
        smallest=16,
    ),
}
"""By name; a new model is one entry."""

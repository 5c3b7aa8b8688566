"""The networks of the paper in PyTorch, for the benchmark to compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmark.in_turn import Steps
from experiments.benchmark.torch_optimizers import import_torch
from experiments.data import Dataset


def torch_steps(model: str, data: Dataset, batch: int) -> Steps:
    """One pass over normalised images that are in memory, with Adam.

    Args:
        model: name in :data:`NETWORKS`; with PyTorch's initialisation.
        data: to train on.
        batch: images in a step.

    Raises:
        UserError: if PyTorch is missing.
    """
    torch = import_torch()
    height, width, channels = data.source.shape
    classes = data.source.classes
    network = NETWORKS[model](torch.nn, height, width, channels, classes)
    images = normalized(data, data.train_images)
    labels = torch.tensor(data.train_labels).long()
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss = torch.nn.CrossEntropyLoss()

    def steps() -> None:
        for start in range(0, len(labels), batch):
            rows = slice(start, start + batch)
            adam.zero_grad()
            loss(network(images[rows]), labels[rows]).backward()
            adam.step()

    return steps


def normalized(data: Dataset, images: np.ndarray) -> Any:
    """Images as PyTorch takes them, with channels in front."""
    torch = import_torch()
    pixels = torch.tensor(images).movedim(-1, 1).float()
    mean = torch.tensor(data.source.mean).reshape(-1, 1, 1)
    std = torch.tensor(data.source.std).reshape(-1, 1, 1)
    return ((pixels / data.source.white - mean) / std).contiguous()


def _mlp(nn: Any, height: int, width: int, channels: int, classes: int) -> Any:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(height * width * channels, 100),
        nn.ReLU(),
        nn.Linear(100, 100),
        nn.ReLU(),
        nn.Linear(100, classes),
    )


def _cnn(nn: Any, height: int, width: int, channels: int, classes: int) -> Any:
    def pooled(side: int) -> int:
        return (side - 2) // 2  # 5×5 windows with a padding of 1, then halved.

    left = pooled(pooled(height)) * pooled(pooled(width))
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 5, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * left, 100),
        nn.ReLU(),
        nn.Linear(100, classes),
    )


NETWORKS: dict[str, Callable[[Any, int, int, int, int], Any]] = {
    "mlp": _mlp,
    "cnn": _cnn,
}
"""By name, from ``torch.nn`` and height, width, channels and classes."""

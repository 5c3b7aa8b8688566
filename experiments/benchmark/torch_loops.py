"""The loops of whole runs as one writes them in PyTorch, seed after seed."""

from __future__ import annotations

from typing import Any

from experiments.benchmark.in_turn import Steps
from experiments.benchmark.torch_optimizers import import_torch
from experiments.benchmark.torch_training_steps import NETWORKS, normalized
from experiments.data import Dataset
from experiments.protocols.config import Config

EVALUATED = 500
"""Images that are classified at once."""


def torch_stages(config: Config, data: Dataset) -> Steps:
    """All epochs of a single task with its data loader; accuracies after each.

    Raises:
        UserError: if PyTorch is missing.
    """
    torch = import_torch()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(
            normalized(data, data.train_images), torch.tensor(data.train_labels).long()
        ),
        batch_size=config.batch_size,
        shuffle=True,
    )
    tests = normalized(data, data.test_images)
    labels = torch.tensor(data.test_labels).long()

    def run() -> None:
        for seed in config.seed_range:
            network, adam, loss = _begin(config, data, seed)
            for _ in range(config.epochs):
                network.train()
                total = torch.zeros(())
                for images, targets in loader:
                    adam.zero_grad()
                    value = loss(network(images), targets)
                    value.backward()
                    adam.step()
                    total += value.detach()
                float(total)
                _accuracy(network, tests, labels)

    return run


def torch_stream(config: Config, data: Dataset) -> Steps:
    """All tasks of random labels, of images that are in memory.

    Raises:
        UserError: if PyTorch is missing.
    """
    torch = import_torch()
    images = normalized(data, data.train_images)

    def run() -> None:
        for seed in config.seed_range:
            network, adam, loss = _begin(config, data, seed)
            for _ in range(config.stream_tasks):
                labels = torch.randint(data.source.classes, (len(images),))
                total, correct = torch.zeros(()), torch.zeros((), dtype=torch.long)
                for _ in range(config.epochs):
                    for rows in torch.randperm(len(images)).split(config.batch_size):
                        adam.zero_grad()
                        outputs = network(images[rows])
                        value = loss(outputs, labels[rows])
                        value.backward()
                        adam.step()
                        total += value.detach()
                        correct += (outputs.argmax(1) == labels[rows]).sum()
                float(total), int(correct)
                _accuracy(network, images, labels)

    return run


def _begin(config: Config, data: Dataset, seed: int) -> tuple[Any, Any, Any]:
    """A new network, its optimiser and the loss."""
    torch = import_torch()
    torch.manual_seed(seed)
    shape, classes = data.source.shape, data.source.classes
    network = NETWORKS[config.model](torch.nn, *shape, classes)
    adam = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    return network, adam, torch.nn.CrossEntropyLoss()


def _accuracy(network: Any, images: Any, labels: Any) -> float:
    torch = import_torch()
    network.eval()
    with torch.no_grad():
        correct = sum(
            int((network(some).argmax(1) == those).sum())
            for some, those in zip(
                images.split(EVALUATED), labels.split(EVALUATED), strict=True
            )
        )
    return correct / len(labels)

"""Whole training steps with Adam alone, with SWR behind it and in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.in_turn import Row, Steps, compare
from experiments.benchmark.torch_training_steps import NETWORKS, torch_steps
from experiments.data import SOURCES, Dataset
from experiments.methods import METHODS
from experiments.models import MODELS, ViT
from experiments.training.lanes import Member, stacked
from experiments.training.network import Network
from experiments.training.training import Data, Training

MEMBER = Member(seed=0, coefficient=1e-3, learning_rate=1e-3)


class Case(NamedTuple):
    """A network that takes training steps.

    Attributes:
        name: of the network.
        build: makes it for a number of classes.
        dataset: of which only the shape counts.
        batch: images in a step.
        steps: of a round.
        convolutional: whether it convolves.
        small: whether a step takes little scratch memory.
    """

    name: str
    build: Callable[[int], nn.Module]
    dataset: str
    batch: int
    steps: int
    convolutional: bool = False
    small: bool = False

    def __str__(self) -> str:
        """In words."""
        return f"{self.name}, {self.dataset}'s shape, batch {self.batch}"


CASES = (
    Case("mlp", MODELS["mlp"].build, "mnist", 256, 64, small=True),
    Case("cnn", MODELS["cnn"].build, "cifar10", 256, 4, convolutional=True),
    # The size of DeiT-S (arXiv 2012.12877), half as deep: 1e7 parameters.
    Case("transformer", partial(ViT, width=384, heads=6), "cifar10", 8, 1),
)


def measure(case: Case, rounds: int, torch: bool) -> list[Row]:
    """Times each way in turn with Adam.

    Raises:
        UserError: if PyTorch is asked for and missing.
    """
    data = random_images(case.dataset, case.batch * case.steps)
    ways = {}
    if torch and case.name in NETWORKS:
        # PyTorch's first, to fail at once where it is missing.
        ways["PyTorch: Adam"] = torch_steps(case.name, data, case.batch)
    shape = (case.batch, *data.train_images.shape[1:])
    network = Network(
        case.build(data.source.classes),
        jax.ShapeDtypeStruct(shape, jnp.float32),
        case.convolutional,
    )
    ways = {
        "Adam": _steps(network, "vanilla", data),
        "Adam + SWR": _steps(network, "swr", data),
        **ways,
    }
    leaves = network.plan.leaves
    return [
        Row(
            piece="training",
            case=str(case),
            layers=len(network.plan.layers),
            leaves=len(leaves),
            parameters=sum(int(np.prod(leaf.shape)) for leaf in leaves),
            way=name,
            rounds=rounds,
            **compare(steps, ways["Adam"], case.steps, rounds),
        )
        for name, steps in ways.items()
    ]


def random_images(name: str, count: int) -> Dataset:
    """So many images and labels in the shape of a data set's."""
    source, generator = SOURCES[name], np.random.default_rng(0)
    images = generator.integers(0, 256, (count, *source.shape), np.uint8)
    labels = generator.integers(0, source.classes, count, np.int32)
    return Dataset(source, images, labels, images[:1], labels[:1])


def _steps(network: Network, method: str, data: Dataset) -> Steps:
    """The very steps that the experiments take."""
    training = Training(network, METHODS[method], normalize=data.normalize)
    images = Data(jnp.asarray(data.train_images), jnp.asarray(data.train_labels))
    batch = network.inputs.shape[0]
    order = np.arange(len(data.train_labels), dtype=np.int32).reshape(1, -1, batch)
    members = stacked([MEMBER])
    state = training.initialize([MEMBER])

    def steps() -> None:
        nonlocal state
        state, _ = training.run(state, members, images, order)
        jax.block_until_ready(state)

    return steps

"""What a training step costs, measured in turn in one process.

Each network's step with Adam alone, with SWR behind it and, if asked for, in PyTorch;
machines drift, so only what is measured in turn can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import time

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from experiments.benchmark.torch_steps import torch_steps
from experiments.data import SOURCES, Dataset
from experiments.protocols.config import Config
from experiments.protocols.stage_loop import on_device, stage_training
from experiments.training.lanes import stacked

BATCH = 256

Steps = Callable[[], None]
"""Takes as many steps as :data:`CASES` has for its network."""

CASES: Mapping[str, tuple[str, int]] = {"mlp": ("mnist", 64), "cnn": ("cifar10", 4)}
"""Each network's data set, of which only the shape counts, and steps of a round."""


def run(rounds: int, torch: bool) -> None:
    """Prints medians over rounds, each of which times all ways in turn.

    Raises:
        UserError: if PyTorch is asked for and missing.
    """
    console = Console(highlight=False, soft_wrap=True)
    kind = jax.devices()[0].device_kind
    for model, (dataset, steps) in CASES.items():
        data = _random_images(dataset, BATCH * steps)
        # PyTorch's first, to fail at once where it is missing.
        others = {"Adam in PyTorch": torch_steps(model, data, BATCH)} if torch else {}
        ways = {
            "Adam": _jax_steps(model, dataset, "vanilla", data),
            "Adam + SWR": _jax_steps(model, dataset, "swr", data),
            **others,
        }
        times = time_in_turn(ways, rounds) / steps
        console.print(
            f"{model}, {dataset}'s shape, batch {BATCH}, on {kind}: medians of"
            f" {rounds} rounds of {steps} steps"
        )
        ratios = times / times[:, :1]
        for name, seconds, ratio in zip(ways, times.T, ratios.T, strict=True):
            low, middle, high = np.percentile(ratio, [25, 50, 75])
            console.print(
                f"  {name:<16} {np.median(seconds) * 1e6:8.0f} µs a step,"
                f" {middle:.3f} of Adam's (quartiles {low:.3f} to {high:.3f})"
            )
        if torch:
            middle = np.median(times[:, 0] / times[:, 2])
            console.print(f"  Adam's step takes {middle:.2f} of PyTorch's")


def time_in_turn(ways: Mapping[str, Steps], rounds: int) -> np.ndarray:
    """Seconds of each round and way, (rounds, ways)."""
    for steps in ways.values():
        steps()  # Compiles.
    times = np.empty((rounds, len(ways)))
    for row in times:
        for i, steps in enumerate(ways.values()):
            began = time.perf_counter()
            steps()
            row[i] = time.perf_counter() - began
    return times


def _random_images(name: str, count: int) -> Dataset:
    source, generator = SOURCES[name], np.random.default_rng(0)
    images = generator.integers(0, 256, (count, *source.shape), np.uint8)
    labels = generator.integers(0, source.classes, count, np.int32)
    return Dataset(source, images, labels, images[:1], labels[:1])


def _jax_steps(model: str, dataset: str, method: str, data: Dataset) -> Steps:
    """The very steps that the experiments take."""
    config = Config("single-task", dataset, model, (method,), seeds=1, batch_size=BATCH)
    training = stage_training(config, data, method)
    members = config.members(method)
    train, _ = on_device(data)
    order = np.arange(len(data.train_labels), dtype=np.int32).reshape(1, -1, BATCH)
    start = training.initialize(members)

    def steps() -> None:
        state = jax.tree.map(jnp.copy, start)  # A run consumes what it is given.
        jax.block_until_ready(training.run(state, stacked(members), train, order))

    return steps

"""The loops of whole runs, all seeds, and the same loops in plain PyTorch.

What is timed is a run without its compilation: training with its order of images,
evaluation, metrics, records and a checkpoint at the end.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import math
from pathlib import Path
import tempfile
from typing import Any, NamedTuple

from experiments.benchmark.in_turn import Row, Steps, compare
from experiments.benchmark.torch_loops import torch_stages, torch_stream
from experiments.benchmark.training_steps import random_images
from experiments.data import Dataset
from experiments.models import MODELS
from experiments.protocols.config import Config
from experiments.protocols.stage_loop import StageRun
from experiments.protocols.stream_loop import StreamRun
from experiments.training.checkpoint import Checkpoints
from experiments.training.engine import run_here
from experiments.training.lanes import Job, lanes
from experiments.training.network import build_network

ROUNDS = 5
"""At most: a run takes seconds."""

WAYS = {"Adam": "vanilla", "Adam + SWR": "swr"}
"""Names of methods."""


class Case(NamedTuple):
    """A run that is timed.

    Attributes:
        name: in words.
        config: of the run, for any method.
        test_images: how many; only the shape of the data set counts.
        torch: the same run in PyTorch, from its configuration and data.
    """

    name: str
    config: Config
    test_images: int
    torch: Callable[[Config, Dataset], Steps]

    def __str__(self) -> str:
        """In words."""
        return f"{self.name}, {self.config.seeds} seeds"

    @property
    def small(self) -> bool:
        """Whether a step takes little scratch memory."""
        return MODELS[self.config.model].small


def _single_task(model: str, dataset: str, seeds: int, images: int) -> Config:
    return Config(
        "single-task",
        dataset,
        model,
        methods=("vanilla",),
        seeds=seeds,
        epochs=2,
        train_images=images,
    )


def _random_labels(dataset: str) -> Config:
    return Config(
        "random-labels",
        dataset,
        "mlp",
        methods=("vanilla",),
        seeds=5,
        epochs=10,
        train_images=1200,
        tasks=3,
        batch_size=16,
    )


CASES = (
    Case(
        "single task, mlp, mnist's shape, batch 256",
        _single_task("mlp", "mnist", 5, 12_800),
        2000,
        torch_stages,
    ),
    Case(
        "single task, cnn, cifar10's shape, batch 256",
        _single_task("cnn", "cifar10", 2, 2560),
        500,
        torch_stages,
    ),
    Case(
        "stream of random labels, mlp, digits' shape, batch 16",
        _random_labels("digits"),
        1,
        torch_stream,
    ),
    Case(
        "stream of random labels, mlp, mnist's shape, batch 16",
        _random_labels("mnist"),
        1,
        torch_stream,
    ),
)


def measure(case: Case, rounds: int, torch: bool) -> list[Row]:
    """Times each way in turn with Adam.

    Raises:
        UserError: if PyTorch is asked for and missing.
    """
    images, tests = case.config.train_images or 0, case.test_images
    both = random_images(case.config.dataset, images + tests)
    data = dataclasses.replace(
        both,
        train_images=both.train_images[:images],
        train_labels=both.train_labels[:images],
        test_images=both.train_images[images:],
        test_labels=both.train_labels[images:],
    )
    # PyTorch's first, to fail at once where it is missing.
    others = {"PyTorch: Adam": case.torch(case.config, data)} if torch else {}
    here = {name: _run(case.config, data, method) for name, method in WAYS.items()}
    config = case.config
    shape = (config.batch_size, *data.source.shape)
    plan = build_network(config.model, data.source.classes, shape).plan
    return [
        Row(
            piece="loop",
            case=str(case),
            layers=len(plan.layers),
            leaves=len(plan.leaves),
            parameters=sum(math.prod(leaf.shape) for leaf in plan.leaves),
            way=name,
            rounds=min(rounds, ROUNDS),
            **compare(run, here["Adam"], 1, min(rounds, ROUNDS)),
        )
        for name, run in (here | others).items()
    ]


def _run(config: Config, data: Dataset, method: str) -> Steps:
    """A method's run as the experiments have it; what it compiles it keeps."""
    config = dataclasses.replace(config, methods=(method,))
    jobs = [Job(method, lane) for lane in lanes(config.members(method))]
    run: Any = (StreamRun if config.is_stream else StageRun)(config, data)

    def whole() -> None:
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = Checkpoints(Path(folder) / "checkpoint", "benchmark")
            run_here(run, [jobs], lambda _: None, checkpoints)

    return whole

"""The paper's protocols: which images each stage of training sees, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

ImagesOfStage = Callable[[np.ndarray, int, int], np.ndarray]
"""(everything in an order of its own for each seed, stage, stages) → the stage's."""


def _all(order: np.ndarray, stage: int, stages: int) -> np.ndarray:
    del stage, stages
    return order


def _half_then_all(order: np.ndarray, stage: int, stages: int) -> np.ndarray:
    del stages
    return order[: len(order) // 2] if stage == 1 else order


def _chunk(order: np.ndarray, stage: int, stages: int) -> np.ndarray:
    return np.array_split(order, stages)[stage - 1]


def _chunks_so_far(order: np.ndarray, stage: int, stages: int) -> np.ndarray:
    return np.concatenate(np.array_split(order, stages)[:stage])


class Protocol(NamedTuple):
    """An entry of :data:`PROTOCOLS`.

    Attributes:
        title: its name in reports.
        help: what it does, in a line.
        stages: spans of training between changes of data.
        epochs: the paper's length of a stage.
        quick_epochs: the length for the CNN in the profile ``quick``.
        images: which images a stage sees.
        drops: after which fractions of training the learning rate falls to a tenth.
        methods: what is compared by default.
    """

    title: str
    help: str
    stages: int
    epochs: int
    quick_epochs: int
    images: ImagesOfStage
    methods: tuple[str, ...]
    drops: tuple[float, ...] = ()


_AT_CHANGES = ("shrink_and_perturb", "head_reset", "full_reset")

PROTOCOLS: dict[str, Protocol] = {
    "warm-start": Protocol(
        title="Warm start",
        help="train on half of the data, then on all of it",
        stages=2,
        epochs=100,
        quick_epochs=40,
        images=_half_then_all,
        methods=("scratch", "vanilla", "l2", "l2_init", *_AT_CHANGES, "swr"),
    ),
    "continual-full": Protocol(
        title="Continual learning, full access",
        help="train on more and more chunks of the data",
        stages=10,
        epochs=100,
        quick_epochs=12,
        images=_chunks_so_far,
        methods=("vanilla", "l2", "l2_init", *_AT_CHANGES, "swr"),
    ),
    "continual-limited": Protocol(
        title="Continual learning, limited access",
        help="train on one chunk of the data after the other",
        stages=10,
        epochs=100,
        quick_epochs=24,
        images=_chunk,
        methods=("vanilla", "l2", "l2_init", *_AT_CHANGES, "swr"),
    ),
    "single-task": Protocol(
        title="Single task",
        help="train on all of the data",
        stages=1,
        epochs=200,
        quick_epochs=80,
        images=_all,
        methods=("vanilla", "l2", "l2_init", "swr"),
    ),
    "single-task-decay": Protocol(
        title="Single task, learning-rate decay",
        help="the same, with the learning rate divided by ten twice",
        stages=1,
        epochs=200,
        quick_epochs=80,
        images=_all,
        methods=("vanilla", "l2", "l2_init", "swr", "swr_reinit", "swr_follow"),
        drops=(0.5, 0.75),
    ),
    "proportionality": Protocol(
        title="Proportionality",
        help="train, scale the network once, and train on",
        stages=1,
        epochs=100,
        quick_epochs=24,
        images=_all,
        methods=("vanilla",),
    ),
    "balancedness": Protocol(
        title="Balancedness",
        help="how balanced the layers of a network stay while it trains",
        stages=1,
        epochs=200,  # As in the authors' code; the paper does not say.
        quick_epochs=40,
        images=_all,
        methods=("vanilla", "swr"),
    ),
}
"""By name; a new protocol is one entry."""


def images_of_stage(protocol: str, images: int, stage: int, seed: int) -> np.ndarray:
    """The images that a stage trains on, the same whenever the seed is.

    Args:
        protocol: name in :data:`PROTOCOLS`.
        images: how many there are to train on.
        stage: from 1.
        seed: from 0.

    Returns:
        Their indices, sorted.
    """
    entry = PROTOCOLS[protocol]
    order = np.random.default_rng((seed, 0)).permutation(images)
    return np.sort(entry.images(order, stage, entry.stages))

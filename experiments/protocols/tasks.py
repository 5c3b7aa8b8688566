"""The tasks of a stream: which examples each one has, in which order.

All is drawn from numbers that the seed and the task's number determine, so that the
sequence is the same for every method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.data import Dataset
from experiments.errors import UserError

INCREMENT = 5
"""Classes that a task of :func:`class_incremental` adds."""

HARD, EASY = 5, 1
"""Classes of the tasks of :func:`five_plus_one`."""

BITS, FLIPPING, UNITS, BETA = 20, 15, 100, 0.7
"""Inputs, flipping ones among them, target units and threshold of
:func:`slowly_changing_regression`."""


class Task(NamedTuple):
    """What is learnt before the data change.

    Attributes:
        inputs: uint8 pixels, (examples, height, width, channels), or float32 numbers.
        targets: labels, int32, (examples,), or float32, (examples, outputs).
        order: of the examples, int32, (steps, batch); -1 behind the last.
        test_inputs: held-out examples, or None.
        test_targets: theirs.
        classes: bool, (outputs,), which outputs count; None for all.
        examples: how many of the inputs are the task's, which come first; None for all.
        scored: whether it counts for a method's score.
    """

    inputs: np.ndarray
    targets: np.ndarray
    order: np.ndarray
    test_inputs: np.ndarray | None = None
    test_targets: np.ndarray | None = None
    classes: np.ndarray | None = None
    examples: int | None = None
    scored: bool = True


class Size(NamedTuple):
    """How much a task has.

    Attributes:
        images: how many, or None for all that there are.
        batch: examples of a step.
        epochs: passes over them.
    """

    images: int | None
    batch: int
    epochs: int


Draw = Callable[[Dataset, Size, int, int], Task]
"""(data set, size, seed from 0, task from 1) → the task."""


def random_labels(dataset: Dataset, size: Size, seed: int, task: int) -> Task:
    """The same images each time; their labels are shuffled anew, at first already."""
    chosen = _some(dataset, size.images, np.random.default_rng((seed, 0)))
    generator = np.random.default_rng((seed, task))
    return Task(
        dataset.train_images[chosen],
        generator.permutation(dataset.train_labels[chosen]),
        passes(len(chosen), size, generator),
    )


def permuted_inputs(dataset: Dataset, size: Size, seed: int, task: int) -> Task:
    """Other images each time, with pixels in another order, but for the first task."""
    generator = np.random.default_rng((seed, task))
    chosen = _some(dataset, size.images, generator)
    images = dataset.train_images[chosen]
    if task > 1:
        pixels = images.reshape(len(images), -1, images.shape[-1])
        places = generator.permutation(pixels.shape[1])
        images = pixels[:, places].reshape(images.shape)
    return Task(
        images, dataset.train_labels[chosen], passes(len(chosen), size, generator)
    )


def five_plus_one(dataset: Dataset, size: Size, seed: int, task: int) -> Task:
    """Five classes and one in turn, none of them twice; only the five are scored."""
    classes = np.random.default_rng((seed, 0)).permutation(dataset.source.classes)
    first = (HARD + EASY) * ((task - 1) // 2)
    hard = task % 2 == 1
    begin, end = (first, first + HARD) if hard else (first + HARD, first + HARD + EASY)
    chosen = np.flatnonzero(np.isin(dataset.train_labels, classes[begin:end]))
    # A task takes as long with one class as with five.
    steps = size.epochs * (_largest_class(dataset) * HARD // size.batch)
    generator = np.random.default_rng((seed, task))
    return Task(
        dataset.train_images[chosen],
        dataset.train_labels[chosen],
        passes(len(chosen), size, generator, steps),
        scored=hard,
    )


def class_pairs(dataset: Dataset, size: Size, seed: int, task: int) -> Task:
    """Two classes to tell apart; when all have been used, they are paired anew."""
    pairs = dataset.source.classes // 2
    again, place = divmod(task - 1, pairs)
    order = np.random.default_rng((seed, 0, again)).permutation(2 * pairs)
    pair = order[2 * place : 2 * place + 2]
    chosen = np.flatnonzero(np.isin(dataset.train_labels, pair))
    tested = np.flatnonzero(np.isin(dataset.test_labels, pair))
    generator = np.random.default_rng((seed, task))
    return Task(
        dataset.train_images[chosen],
        (dataset.train_labels[chosen] == pair[1]).astype(np.int32),
        passes(len(chosen), size, generator),
        dataset.test_images[tested],
        (dataset.test_labels[tested] == pair[1]).astype(np.int32),
    )


def class_incremental(dataset: Dataset, size: Size, seed: int, task: int) -> Task:
    """Five more classes each time, with all images of the earlier ones as well."""
    total, labels = dataset.source.classes, dataset.train_labels
    seen = np.random.default_rng((seed, 0)).permutation(total)[: INCREMENT * task]
    there = np.isin(labels, seen)
    tested = np.flatnonzero(np.isin(dataset.test_labels, seen))
    generator = np.random.default_rng((seed, task))
    # Arrays of one size for all tasks, so that one program serves them.
    first = np.argsort(~there, kind="stable")
    most = size.epochs * (len(labels) // size.batch)
    order = np.full((most, size.batch), -1, np.int32)
    examples = int(there.sum())
    steps = passes(examples, size, generator)
    order[: len(steps)] = steps
    return Task(
        dataset.train_images[first],
        labels[first],
        order,
        dataset.test_images[tested],
        dataset.test_labels[tested],
        classes=np.isin(np.arange(total), seen),
        examples=examples,
    )


def slowly_changing_regression(
    dataset: Dataset, size: Size, seed: int, task: int
) -> Task:
    """Bits, of which one flips for each task, and what a fixed network says of them.

    That network has 100 threshold units on 20 bits. The first 15 bits keep their
    value for a task, and the other five are random. Weights are ±1, and a unit with S
    of them negative is on from 0.7 · 21 − S.
    """
    del dataset
    fixed = np.random.default_rng((seed, 0))
    weights = fixed.choice([-1.0, 1.0], (BITS + 1, UNITS))
    outputs = fixed.choice([-1.0, 1.0], UNITS + 1)
    slow = fixed.integers(0, 2, FLIPPING)
    np.add.at(slow, fixed.integers(0, FLIPPING, task - 1), 1)
    generator = np.random.default_rng((seed, task))
    examples = size.images or 1
    bits = generator.integers(0, 2, (examples, BITS)).astype(np.float32)
    bits[:, :FLIPPING] = slow % 2
    with_bias = np.concatenate([bits, np.ones((examples, 1))], axis=1)
    negative = (weights < 0).sum(axis=0)
    on = with_bias @ weights >= BETA * (BITS + 1) - negative
    targets = on @ outputs[:-1] + outputs[-1]
    order = np.arange(examples - examples % size.batch, dtype=np.int32)
    return Task(
        bits[:, :, None, None],
        targets[:, None].astype(np.float32),
        np.tile(order.reshape(-1, size.batch), (size.epochs, 1)),
    )


def passes(
    examples: int, size: Size, generator: np.random.Generator, steps: int | None = None
) -> np.ndarray:
    """Random orders, one after the other, each without its incomplete last batch.

    Args:
        examples: how many there are.
        size: batch and number of passes.
        generator: draws the orders.
        steps: as many as these instead of whole passes.

    Returns:
        Indices, int32, (steps, batch).

    Raises:
        UserError: if there are fewer examples than a batch takes.
    """
    batches = examples // size.batch
    if not batches:
        raise UserError(
            f"a task has {examples} images, fewer than the batch of {size.batch}"
        )
    epochs = size.epochs if steps is None else -(-steps // batches)
    orders = [
        generator.permutation(examples)[: batches * size.batch] for _ in range(epochs)
    ]
    return np.concatenate(orders).reshape(-1, size.batch)[:steps].astype(np.int32)


def _some(
    dataset: Dataset, images: int | None, generator: np.random.Generator
) -> np.ndarray:
    """Random training images, sorted."""
    there = len(dataset.train_labels)
    if images is not None and images > there:
        raise UserError(
            f"a task is to have {images} images, but the training set has {there}: give"
            " a smaller --train-images"
        )
    return np.sort(generator.permutation(there)[:images])


def _largest_class(dataset: Dataset) -> int:
    return int(np.bincount(dataset.train_labels).max())

"""Warm start: train on half of the data, then on all of it.

A network that starts from the half should end where one from scratch does; what
it falls short by is lost plasticity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
import functools
import os
import threading
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.config import Config
from experiments.datasets import Dataset
from experiments.methods import METHODS
from experiments.training import Training, lanes, make_training, shuffled


class Record(NamedTuple):
    """One evaluation of one seed: a row of ``metrics.csv``.

    Attributes:
        protocol: the experiment.
        dataset: its data.
        model: its network.
        method: its method.
        seed: from 0.
        stage: 1 on half of the data, 2 on all of it.
        epoch: of the stage, from 1.
        step: optimiser steps so far.
        train_loss: mean cross-entropy over the epoch, in nats.
        test_accuracy: fraction of test images classified correctly.
        weight_growth: mean over layers of the weight's norm over its initial one.
        seconds: since the seed's first step, all seeds of its lane together.
    """

    protocol: str
    dataset: str
    model: str
    method: str
    seed: int
    stage: int
    epoch: int
    step: int
    train_loss: float
    test_accuracy: float
    weight_growth: float
    seconds: float


def run_warm_start(
    config: Config, dataset: Dataset, tick: Callable[[str, int], None]
) -> list[Record]:
    """Runs all methods and seeds of a configuration.

    Args:
        config: what to run.
        dataset: its data.
        tick: called with the method's name and the number of seeds that have
            just finished an epoch.
    """
    records: list[Record] = []
    stop = threading.Event()

    def tick_unless_stopped(method: str, seeds: int) -> None:
        if stop.is_set():
            raise CancelledError
        tick(method, seeds)

    # A small network leaves cores idle; lanes are independent of each other.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for method in config.methods:
                training = make_training(config, dataset, method)
                run = functools.partial(
                    _run_lane, config, dataset, method, training, tick_unless_stopped
                )
                for found in pool.map(run, lanes(config.seeds)):
                    records += found
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return records


def _run_lane(
    config: Config,
    dataset: Dataset,
    method: str,
    training: Training,
    tick: Callable[[str, int], None],
    seeds: Sequence[int],
) -> list[Record]:
    everything = np.arange(len(dataset.train_labels))
    most_steps = -(-len(everything) // config.batch_size)
    state = training.initialize(seeds)
    initial = jax.tree.map(jnp.copy, state.params)
    records = []
    steps = 0
    start = time.perf_counter()
    for stage in (1, 2) if METHODS[method].warm_start else (2,):
        # Seeds have halves of their own, and every method the same ones.
        members = [everything if stage == 2 else _half(everything, s) for s in seeds]
        if stage == 2 and METHODS[method].warm_start:
            state = state._replace(params=training.change_data(state.params, initial))
        for epoch in range(1, config.epochs + 1):
            order = np.stack(
                [
                    shuffled(part, config.batch_size, most_steps, (seed, stage, epoch))
                    for part, seed in zip(members, seeds, strict=True)
                ]
            )
            state, losses = training.run_epoch(state, order)
            steps += -(-len(members[0]) // config.batch_size)
            accuracies, growths = training.evaluate(state, initial)
            records += [
                Record(
                    protocol=config.protocol,
                    dataset=config.dataset,
                    model=config.model,
                    method=method,
                    seed=seed,
                    stage=stage,
                    epoch=epoch,
                    step=steps,
                    train_loss=float(loss),
                    test_accuracy=float(accuracy),
                    weight_growth=float(growth),
                    seconds=time.perf_counter() - start,
                )
                for seed, loss, accuracy, growth in zip(
                    seeds, np.asarray(losses), accuracies, growths, strict=True
                )
            ]
            tick(method, len(seeds))
    return records


def _half(everything: np.ndarray, seed: int) -> np.ndarray:
    """A random half of the training set, the same whenever the seed is."""
    order = np.random.default_rng((seed, 0)).permutation(everything)
    return np.sort(order[: len(order) // 2])


def epochs_of(config: Config) -> int:
    """Epochs of a whole run, each seed's counted."""
    stages = sum(1 + METHODS[method].warm_start for method in config.methods)
    return stages * config.epochs * config.seeds

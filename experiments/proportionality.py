"""Figure 1: what scaling a trained network once does, with and without its biases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from experiments.command import prepare
from experiments.config import Config
from experiments.datasets import Dataset
from experiments.errors import UserError
from experiments.progress import Progress
from experiments.report import check_writable, write_run
from experiments.training import (
    Member,
    Training,
    TrainState,
    lanes,
    make_training,
    shuffled,
    stacked_coefficients,
)
import swr_optax
from swr_optax import RescalingPlan

RATIOS = (0.5, 0.7, 0.9, 1.0, 1.1, 1.5, 2.0)
"""By which every layer's weight is scaled."""

Rows = list[dict[str, Any]]


def run(config: Config, out: Path, data_dir: str | None) -> None:
    """Trains, scales, measures, trains on; writes the run's folder.

    Raises:
        UserError: for more than one method, or if the data cannot be had or the
            folder not be written.
    """
    if len(config.methods) > 1:
        raise UserError("proportionality scales one network: name one method")
    check_writable(out)
    dataset = prepare(config, data_dir)
    began = time.perf_counter()
    with Progress(Console(stderr=True), epochs_of(config)) as progress:
        rows = run_proportionality(
            config, dataset, lambda epochs: progress.advance(config.methods[0], epochs)
        )
    files = write_run(out, config, rows)
    seconds = time.perf_counter() - began
    console = Console()
    console.print(f"{seconds:.0f} s; wrote", *map(str, files), soft_wrap=True)


def later_epochs(config: Config) -> int:
    """Epochs after the scaling: half of those before it, as in the paper."""
    return max(1, config.epochs // 2)


def epochs_of(config: Config) -> int:
    """Epochs of a whole run, each seed's and each scaled network's counted."""
    networks = 2 * len(RATIOS)
    return config.seeds * (config.epochs + networks * later_epochs(config))


def run_proportionality(
    config: Config, dataset: Dataset, tick: Callable[[int], None]
) -> Rows:
    """Test accuracy for each ratio, at once and the best of later epochs.

    Args:
        config: what to run.
        dataset: its data.
        tick: called with the number of epochs just finished.

    Returns:
        Rows of ``metrics.csv``.
    """
    training = make_training(config, dataset, config.methods[0])
    members = [Member(seed, 0.0) for seed in range(config.seeds)]

    def run_lane(lane: Sequence[Member]) -> Rows:
        return _run_lane(config, dataset, training, lane, tick)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            return [row for rows in pool.map(run_lane, lanes(members)) for row in rows]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _run_lane(
    config: Config,
    dataset: Dataset,
    training: Training,
    members: Sequence[Member],
    tick: Callable[[int], None],
) -> Rows:
    seeds = [member.seed for member in members]
    coefficients = stacked_coefficients(members)
    images = np.arange(len(dataset.train_labels))
    steps = -(-len(images) // config.batch_size)

    def train(state: TrainState, epoch: int) -> TrainState:
        order = np.stack(
            [
                shuffled(images, config.batch_size, steps, (seed, 1, epoch))
                for seed in seeds
            ]
        )
        state, _ = training.run_epoch(state, coefficients, order)
        tick(len(seeds))
        return state

    trained = training.initialize(seeds)
    for epoch in range(1, config.epochs + 1):
        trained = train(trained, epoch)
    rows: Rows = []
    later = later_epochs(config)
    for biases in ("rescaled", "kept"):
        for ratio in RATIOS:
            params = scaled(
                trained.params, ratio, training.plan, keep_biases=biases == "kept"
            )
            # Training gives away the arrays that it is given.
            state = jax.tree.map(jnp.copy, trained._replace(params=params))
            accuracies = [training.accuracy(state)]
            for epoch in range(config.epochs + 1, config.epochs + later + 1):
                state = train(state, epoch)
                accuracies.append(training.accuracy(state))
            for when, values in (
                ("at once", accuracies[0]),
                (f"best of {later}", np.max(accuracies[1:], axis=0)),
            ):
                rows += [
                    {
                        "protocol": config.protocol,
                        "dataset": config.dataset,
                        "model": config.model,
                        "method": config.methods[0],
                        "seed": seed,
                        "ratio": ratio,
                        "biases": biases,
                        "when": when,
                        "test_accuracy": float(value),
                    }
                    for seed, value in zip(seeds, values, strict=True)
                ]
    return rows


def scaled(params: Any, ratio: float, plan: RescalingPlan, keep_biases: bool) -> Any:
    """Every layer's weight times a ratio; the biases follow, or stay.

    Args:
        params: with a leading axis of seeds.
        ratio: of the new norms to the old.
        plan: of the network.
        keep_biases: whether what is no weight stays as it is.
    """
    log_scalers = jnp.full(len(plan.layers), jnp.log(ratio))
    followed = jax.vmap(lambda p: swr_optax.rescale(p, log_scalers, plan))(params)
    if not keep_biases:
        return followed
    weights = {plan.leaves[i].path for i in plan.weights}
    names = [leaf.path for leaf in plan.leaves[: plan.parameters]]
    leaves: list[jax.Array]
    structure: Any
    leaves, structure = jax.tree.flatten(params)
    new = jax.tree.leaves(followed)
    return structure.unflatten(
        [
            after if name in weights else before
            for name, before, after in zip(names, leaves, new, strict=True)
        ]
    )

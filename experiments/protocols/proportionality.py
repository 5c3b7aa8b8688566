"""Figure 1: what scaling a trained network once does, with and without its biases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data import Dataset
from experiments.protocols.config import Config
from experiments.protocols.stage_loop import on_device, stage_training
from experiments.training.checkpoint import Checkpoints
from experiments.training.lanes import Member, lanes, shuffled, stacked
from experiments.training.side_by_side import run_side_by_side
from experiments.training.step import TrainState
from experiments.training.training import Data, Training
import swr_optax
from swr_optax import RescalingPlan

RATIOS = (0.5, 0.7, 0.9, 1.0, 1.1, 1.5, 2.0)
"""By which every layer's weight is scaled."""

Rows = list[dict[str, Any]]


def later_epochs(config: Config) -> int:
    """Epochs after the scaling: half of those before it, as in the paper."""
    return max(1, config.epochs // 2)


def epochs_of(config: Config) -> int:
    """Epochs of a whole run, each seed's and each scaled network's counted."""
    networks = 2 * len(RATIOS)
    return config.seeds * (config.epochs + networks * later_epochs(config))


def run_proportionality(
    config: Config,
    dataset: Dataset,
    tick: Callable[[int], None],
    checkpoints: Checkpoints,
) -> Rows:
    """Test accuracy for each ratio, at once and the best of later epochs.

    Args:
        config: what to run.
        dataset: its data.
        tick: called with the number of epochs just finished.
        checkpoints: where what is done of each seed is saved.

    Returns:
        Rows of ``metrics.csv``.
    """
    training = stage_training(config, dataset, config.methods[0])
    members = config.members(config.methods[0])
    train_data, test_data = on_device(dataset)

    def run_lane(lane: Sequence[Member], tick: Callable[[int], None]) -> Rows:
        return _run_lane(
            config, training, train_data, test_data, checkpoints, lane, tick
        )

    found = run_side_by_side(run_lane, lanes(members), tick)
    return [row for rows in found for row in rows]


def _run_lane(
    config: Config,
    training: Training,
    train_data: Data,
    test_data: Data,
    checkpoints: Checkpoints,
    members: Sequence[Member],
    tick: Callable[[int], None],
) -> Rows:
    """Trains a network, and on from it each of the scaled ones."""
    seeds = [member.seed for member in members]
    arrays = stacked(members)
    images = np.arange(len(train_data.targets))
    steps = -(-len(images) // config.batch_size)

    def train(state: TrainState, epoch: int) -> TrainState:
        order = np.stack(
            [
                shuffled(images, config.batch_size, steps, (seed, 1, epoch))
                for seed in seeds
            ]
        )
        state, _ = training.run(state, arrays, train_data, order)
        tick(len(seeds))
        return state

    trained, done, rows = training.initialize(members), 0, Rows()
    later = later_epochs(config)
    lane = checkpoints.lane(config.methods[0], members)
    saved = lane.load(trained, _read_progress)
    if saved is not None:
        trained, (done, rows) = saved
        networks = len({(row["ratio"], row["biases"]) for row in rows})
        tick(len(seeds) * (done + networks * later))
    for epoch in range(done + 1, config.epochs + 1):
        trained = train(trained, epoch)
        if lane.is_due() or epoch == config.epochs:
            lane.save(trained, {"epoch": epoch, "rows": rows})
    for biases in ("rescaled", "kept"):
        for ratio in RATIOS:
            if any((r["ratio"], r["biases"]) == (ratio, biases) for r in rows):
                continue
            state = scaled(trained, ratio, training.plan, keep_biases=biases == "kept")
            # Training gives away the arrays that it is given.
            state = jax.tree.map(jnp.copy, state)
            accuracies = [training.accuracy(state, test_data)]
            for epoch in range(config.epochs + 1, config.epochs + later + 1):
                state = train(state, epoch)
                accuracies.append(training.accuracy(state, test_data))
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
            lane.save(trained, {"epoch": config.epochs, "rows": rows})
    return rows


def _read_progress(saved: Any) -> tuple[int, Rows]:
    return int(saved["epoch"]), list(saved["rows"])


def scaled(
    state: TrainState, ratio: float, plan: RescalingPlan, keep_biases: bool
) -> TrainState:
    """Every layer's weight times a ratio; all else follows, or stays.

    Args:
        state: with a leading axis of seeds.
        ratio: of the new norms to the old.
        plan: of the network.
        keep_biases: whether what is no weight, running statistics among them,
            stays as it is.
    """
    log_scalers = jnp.full(len(plan.layers), jnp.log(ratio))
    step = swr_optax.SoftWeightRescalingState(  # As if it had had these scalers.
        count=jnp.int32(1),
        reference_norms=jnp.exp(log_scalers),
        log_scalers=log_scalers,
        owed_log_scalers=jnp.zeros_like(log_scalers),
    )

    @jax.vmap
    def follow(params: Any, stats: Any) -> tuple[Any, Any]:
        return (
            swr_optax.rescale(params, log_scalers, plan),
            swr_optax.rescale_statistics(stats, step, plan),
        )

    params, stats = follow(state.params, state.stats)
    if not keep_biases:
        return state._replace(params=params, stats=stats)
    weights = {plan.leaves[i].path for i in plan.weights}
    names = [leaf.path for leaf in plan.leaves[: plan.parameters]]
    pairs = zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True)
    leaves = [
        after if name in weights else before
        for name, (before, after) in zip(names, pairs, strict=True)
    ]
    return state._replace(params=jax.tree.unflatten(jax.tree.structure(params), leaves))

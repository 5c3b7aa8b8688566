"""Figure 1: what scaling a trained network once does, with and without its biases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data import Dataset
from experiments.protocols.config import Config
from experiments.protocols.stage_loop import DeviceData, stage_training
from experiments.training.checkpoint import Checkpoints, Lane
from experiments.training.engine import Engine, Tick, run_here
from experiments.training.lanes import Job, Member, lanes, shuffled, stacked
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
    tick: Tick[int],
    checkpoints: Checkpoints,
    engine: Engine = run_here,
) -> Rows:
    """Test accuracy for each ratio, at once and the best of later epochs.

    Args:
        config: what to run.
        dataset: its data.
        tick: called with the epochs just finished, one for each seed.
        checkpoints: where what is done of each seed is saved.
        engine: what works on the seeds.

    Returns:
        Rows of ``metrics.csv``.
    """
    (method,) = config.methods
    jobs = [Job(method, lane) for lane in lanes(config.members(method))]
    found = engine(ScalingRun(config, dataset), [jobs], tick, checkpoints)
    return [row for rows in found for row in rows]


class ScalingRun:
    """What the lanes of a run have in common.

    It is pickled without what it has compiled and put on devices.

    Args:
        config: of the run.
        dataset: its data.
    """

    def __init__(self, config: Config, dataset: Dataset) -> None:
        self._config = config
        self._data = DeviceData(dataset)
        self._training = stage_training(config, dataset, config.methods[0])

    def __reduce__(self) -> tuple[type[ScalingRun], tuple[Config, Dataset]]:
        return ScalingRun, (self._config, self._data.dataset)

    def run_lane(
        self, job: Job, device: jax.Device, saved: Lane, tick: Tick[int]
    ) -> Rows:
        """Trains a network, and on from it each of the scaled ones."""
        data, members = self._data.on(device), job.members
        config, training = self._config, self._training
        return _run_lane(config, training, members, *data, device, saved, tick)


def _run_lane(
    config: Config,
    training: Training,
    members: Sequence[Member],
    train_data: Data,
    test_data: Data,
    device: jax.Device,
    lane: Lane,
    tick: Tick[int],
) -> Rows:
    seeds = [member.seed for member in members]
    arrays = stacked(members, device)
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
        tick([epoch] * len(seeds))
        return state

    trained, done, rows = training.initialize(members, device=device), 0, Rows()
    later = later_epochs(config)
    further = range(config.epochs + 1, config.epochs + later + 1)
    saved = lane.load(lambda _: trained, _read_progress)
    if saved is not None:
        trained, (done, rows) = saved
        networks = len({(row["ratio"], row["biases"]) for row in rows})
        told = [*range(1, done + 1), *(networks * list(further))]
        tick([epoch for epoch in told for _ in seeds])
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
            for epoch in further:
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

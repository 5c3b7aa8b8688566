"""Runs a protocol: stages, epochs, changes of data and evaluations of every seed."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import functools
import threading
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data import Dataset
from experiments.methods import METHODS
from experiments.protocols.comparison import OPTIMIZERS
from experiments.protocols.config import Config
from experiments.protocols.records import OBSERVED, Record, of_member
from experiments.protocols.stages import PROTOCOLS, images_of_stage
from experiments.training.checkpoint import Checkpoints, Lane
from experiments.training.engine import Engine, Tick, run_here
from experiments.training.lanes import Job, Member, lanes, shuffled, stacked
from experiments.training.network import build_network
from experiments.training.step import TrainState
from experiments.training.training import Data, Training
from swr_optax import RescalingPlan, metrics

Histories = list[list[Record]]
"""All evaluations so far, of each member."""


def run_protocol(
    config: Config,
    dataset: Dataset,
    tick: Tick[Record],
    checkpoints: Checkpoints,
    engine: Engine = run_here,
) -> list[Record]:
    """Runs all methods and seeds of a configuration; records in their order."""
    rounds = [_lanes_of(method, config.members(method)) for method in config.methods]
    found = engine(StageRun(config, dataset), rounds, tick, checkpoints)
    return [
        record for histories in found for history in histories for record in history
    ]


def run_members(
    config: Config,
    dataset: Dataset,
    method: str,
    members: Sequence[Member],
    tick: Tick[Record],
    checkpoints: Checkpoints,
    engine: Engine = run_here,
) -> Histories:
    """Runs a method for seeds and coefficients; the records of each member."""
    jobs = _lanes_of(method, members)
    found = engine(StageRun(config, dataset), [jobs], tick, checkpoints)
    return [history for histories in found for history in histories]


def _lanes_of(method: str, members: Sequence[Member]) -> list[Job]:
    return [Job(method, lane) for lane in lanes(members)]


class StageRun:
    """What the lanes of a protocol's run have in common.

    It is pickled without what it has compiled and put on devices.

    Args:
        config: of the run.
        dataset: its data.
    """

    def __init__(self, config: Config, dataset: Dataset) -> None:
        self._config = config
        self._data = DeviceData(dataset)
        self._trainings = {
            method: stage_training(config, dataset, method) for method in config.methods
        }

    def __reduce__(self) -> tuple[type[StageRun], tuple[Config, Dataset]]:
        return StageRun, (self._config, self._data.dataset)

    def run_lane(
        self, job: Job, device: jax.Device, saved: Lane, tick: Tick[Record]
    ) -> Histories:
        """Trains and evaluates some members together; the records of each."""
        data, training = self._data.on(device), self._trainings[job.method]
        return _run_lane(self._config, training, job, *data, device, saved, tick)


def stage_training(config: Config, dataset: Dataset, method: str) -> Training:
    """What trains a method on a protocol's stages."""
    shape = (config.batch_size, *dataset.train_images.shape[1:])
    return Training(
        network=build_network(config.network(method), dataset.source.classes, shape),
        method=METHODS[method],
        optimizer=OPTIMIZERS[config.optimizer],
        normalize=dataset.normalize,
        drops=drop_steps(config, len(dataset.train_labels)),
    )


def drop_steps(config: Config, images: int) -> tuple[int, ...]:
    """The steps at which the learning rate falls."""
    steps = config.epochs * -(-images // config.batch_size)
    return tuple(int(drop * steps) for drop in PROTOCOLS[config.protocol].drops)


class DeviceData:
    """A data set on each device that asks for it, once."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._copies: dict[jax.Device, tuple[Data, Data]] = {}
        self._lock = threading.Lock()

    def on(self, device: jax.Device) -> tuple[Data, Data]:
        """What is learnt, and what is tested on."""
        with self._lock:  # Lanes come at once.
            if device not in self._copies:
                self._copies[device] = on_device(self.dataset, device)
            return self._copies[device]


def on_device(dataset: Dataset, device: jax.Device | None = None) -> tuple[Data, Data]:
    """What is learnt, and what is tested on; to stay on a device if one is named."""
    train = Data(jnp.asarray(dataset.train_images), jnp.asarray(dataset.train_labels))
    test = Data(jnp.asarray(dataset.test_images), jnp.asarray(dataset.test_labels))
    return jax.device_put((train, test), device)


def _run_lane(
    config: Config,
    training: Training,
    job: Job,
    train: Data,
    test: Data,
    device: jax.Device,
    lane: Lane,
    tick: Tick[Record],
) -> Histories:
    """Trains and evaluates some members together; the records of each."""
    method, members = job
    protocol = PROTOCOLS[config.protocol]
    images, observed = len(train.targets), test.inputs[:OBSERVED]
    most_steps = -(-images // config.batch_size)
    seeds = [member.seed for member in members]
    arrays = stacked(members, device)
    state = training.initialize(members, device=device)
    initial = jax.tree.map(jnp.copy, state.params)
    histories: Histories = [[] for _ in members]
    done = (0, 0)
    saved = lane.load(lambda _: state, _read_progress)
    if saved is not None:
        state, (done, histories) = saved
        tick(
            [record for of_epoch in zip(*histories, strict=True) for record in of_epoch]
        )
    last = histories[0][-1] if histories[0] else None
    steps = last.step if last else 0
    began = time.perf_counter() - (last.seconds if last else 0.0)

    def evaluate(
        state: TrainState, stage: int, epoch: int, losses: Sequence[float | None]
    ) -> None:
        accuracy = training.accuracy(state, test)
        seen = training.observe(state, initial, observed)
        chain = None
        if config.protocol == "balancedness":
            chain = np.asarray(_balancedness(state.params, training.plan))
        seconds = time.perf_counter() - began
        for i, history in enumerate(histories):
            record = Record(
                protocol=config.protocol,
                dataset=config.dataset,
                model=config.model,
                method=method,
                seed=seeds[i],
                stage=stage,
                epoch=epoch,
                step=steps,
                train_loss=losses[i],
                test_accuracy=float(accuracy[i]),
                stream_accuracy=_stream(history, epoch, float(accuracy[i])),
                seconds=seconds,
                balancedness=None if chain is None else float(chain[i]),
                **of_member(seen, i, training.plan),
            )
            history.append(record)
        tick([history[-1] for history in histories])

    first = protocol.stages if METHODS[method].last_stage_only else 1
    for stage in range(first, protocol.stages + 1):
        if (stage, config.epochs) <= done:
            continue
        parts = [images_of_stage(config.protocol, images, stage, s) for s in seeds]

        def order_of(
            epoch: int, stage: int = stage, parts: list[np.ndarray] = parts
        ) -> np.ndarray:
            orders = [
                shuffled(part, config.batch_size, most_steps, (seed, stage, epoch))
                for part, seed in zip(parts, seeds, strict=True)
            ]
            return np.stack(orders)

        if stage > first and (stage, 0) > done:
            state = training.change_data(state, initial, arrays, train, order_of(1))
            evaluate(state, stage, 0, [None] * len(seeds))
        for epoch in range(1, config.epochs + 1):
            if (stage, epoch) <= done:
                continue
            order = order_of(epoch)
            state, sums = training.run(state, arrays, train, order)
            steps += -(-len(parts[0]) // config.batch_size)
            losses = sums["loss"] / (order >= 0).sum(axis=(1, 2))
            evaluate(state, stage, epoch, [float(loss) for loss in losses])
            if lane.is_due() or (stage, epoch) == (protocol.stages, config.epochs):
                lane.save(state, _progress((stage, epoch), histories))
    return histories


def _progress(done: tuple[int, int], histories: Histories) -> dict[str, Any]:
    """How far a lane has come: stage and epoch of the last that is done."""
    records = [[dataclasses.asdict(r) for r in history] for history in histories]
    return {"done": done, "histories": records}


def _read_progress(saved: Any) -> tuple[tuple[int, int], Histories]:
    stage, epoch = saved["done"]
    return (stage, epoch), [[Record(**r) for r in h] for h in saved["histories"]]


def _stream(history: Sequence[Record], epoch: int, accuracy: float) -> float | None:
    """Mean test accuracy over all epochs up to now; a change of data is none."""
    accuracies = [record.test_accuracy for record in history if record.epoch]
    if epoch:
        accuracies.append(accuracy)
    return float(np.mean(accuracies)) if accuracies else None


@functools.partial(jax.jit, static_argnums=1)
def _balancedness(params: Any, plan: RescalingPlan) -> jax.Array:
    """Of a chain of dense layers, (members,)."""

    def of_one(params: Any) -> jax.Array:
        leaves = jax.tree.leaves(params)
        return metrics.balancedness([leaves[i] for i in plan.weights])

    return jax.vmap(of_one)(params)


def epochs_of(config: Config) -> int:
    """Epochs of a whole run, each seed's counted."""
    stages = sum(
        1 if METHODS[method].last_stage_only else PROTOCOLS[config.protocol].stages
        for method in config.methods
    )
    return stages * config.epochs * config.seeds

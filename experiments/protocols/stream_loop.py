"""Runs a stream: task after task, of every method and seed."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data import Dataset
from experiments.methods import METHODS
from experiments.protocols.comparison import OPTIMIZERS
from experiments.protocols.config import Config
from experiments.protocols.records import OBSERVED, TaskRecord, of_member
from experiments.protocols.stages import PROTOCOLS
from experiments.protocols.streams import STREAMS
from experiments.protocols.tasks import Task
from experiments.training.checkpoint import Checkpoints, Lane
from experiments.training.engine import Engine, Tick, run_here, run_in_turns
from experiments.training.lanes import Job, stacked
from experiments.training.network import build_network
from experiments.training.step import CLASSIFICATION, REGRESSION
from experiments.training.training import Data, Sums, Training

Histories = list[list[TaskRecord]]
"""All tasks so far, of each member."""


def run_stream(
    config: Config,
    dataset: Dataset,
    tick: Tick[TaskRecord],
    checkpoints: Checkpoints,
    engine: Engine = run_here,
) -> list[TaskRecord]:
    """Runs all methods and seeds of a configuration; records in their order."""
    jobs = [Job(method, config.members(method)) for method in config.methods]
    found = run_jobs(config, dataset, jobs, tick, checkpoints, engine)
    return [
        record for histories in found for history in histories for record in history
    ]


def run_jobs(
    config: Config,
    dataset: Dataset,
    jobs: Sequence[Job],
    tick: Tick[TaskRecord],
    checkpoints: Checkpoints,
    engine: Engine = run_here,
) -> list[Histories]:
    """Runs methods with seeds and coefficients; the records of each job's members."""
    return run_in_turns(StreamRun(config, dataset), jobs, tick, checkpoints, engine)


class StreamRun:
    """What the lanes of a stream's run have in common.

    It is pickled without what it has compiled.

    Args:
        config: of the run.
        dataset: of which tasks are made.
    """

    def __init__(self, config: Config, dataset: Dataset) -> None:
        self._config, self._dataset = config, dataset
        self._trainings = {
            method: stream_training(config, dataset, method)
            for method in config.methods
        }

    def __reduce__(self) -> tuple[type[StreamRun], tuple[Config, Dataset]]:
        return StreamRun, (self._config, self._dataset)

    def run_lane(
        self, job: Job, device: jax.Device, saved: Lane, tick: Tick[TaskRecord]
    ) -> Histories:
        """Runs some members of a method together, from where they were saved last."""
        training = self._trainings[job.method]
        config, dataset = self._config, self._dataset
        return _run_lane(config, dataset, training, job, device, saved, tick)


def stream_training(config: Config, dataset: Dataset, method: str) -> Training:
    """What trains a method on a stream's tasks."""
    stream = STREAMS[config.protocol]
    outputs = stream.outputs or dataset.source.classes
    shape = (config.batch_size, *dataset.train_images.shape[1:])
    return Training(
        network=build_network(config.network(method), outputs, shape),
        method=METHODS[method],
        optimizer=OPTIMIZERS[config.optimizer],
        normalize=jnp.asarray if stream.regression else dataset.normalize,
        objective=REGRESSION if stream.regression else CLASSIFICATION,
        measures=("loss", "correct", "gradient_norm"),
        drops=_drops(config, dataset),
        data_axis=0,
    )


def _drops(config: Config, dataset: Dataset) -> tuple[int, ...]:
    """The steps at which the learning rate falls; a fresh network's never does."""
    if not config.decay:
        return ()
    stream = STREAMS[config.protocol]

    def steps(task: int) -> int:
        drawn = stream.draw(dataset, config.size, 0, task)
        return int((drawn.order >= 0).any(axis=1).sum())

    # Tasks of a number of images are alike; tasks of classes may grow.
    tasks = range(1, config.stream_tasks + 1)
    total = len(tasks) * steps(1) if stream.sized else sum(map(steps, tasks))
    drops = PROTOCOLS["single-task-decay"].drops
    return tuple(int(drop * total) for drop in drops)


def _run_lane(
    config: Config,
    dataset: Dataset,
    training: Training,
    job: Job,
    device: jax.Device,
    lane: Lane,
    tick: Tick[TaskRecord],
) -> Histories:
    members, stream = job.members, STREAMS[config.protocol]
    arrays = stacked(members, device)
    state = training.initialize(members, device=device)
    initial = jax.tree.map(jnp.copy, state.params)
    histories: Histories = [[] for _ in members]
    saved = lane.load(lambda _: state, _read_histories)
    if saved is not None:
        state, histories = saved
        tick([record for of_task in zip(*histories, strict=True) for record in of_task])
    last = histories[0][-1] if histories[0] else None
    steps = last.step if last else 0
    began = time.perf_counter() - (last.seconds if last else 0.0)
    for task in range(len(histories[0]) + 1, config.stream_tasks + 1):
        drawn = [
            stream.draw(dataset, config.size, member.seed, task) for member in members
        ]
        data, order = to_learn(drawn, device), np.stack([one.order for one in drawn])
        own = min(one.examples or len(one.inputs) for one in drawn)
        if training.method.fresh and task > 1:
            seeds = [config.fresh_seed(member.seed, task) for member in members]
            state = training.initialize(members, seeds, device)
            initial = jax.tree.map(jnp.copy, state.params)
        elif task > 1:
            passed = order[:, : own // config.batch_size]
            state = training.change_data(state, initial, arrays, data, passed)
        state, sums = training.run(state, arrays, data, order)
        steps += int((drawn[0].order >= 0).any(axis=1).sum())
        seen = training.observe(state, initial, data.inputs[:, : min(own, OBSERVED)])
        test = None
        if drawn[0].test_inputs is not None:
            test = training.accuracy(state, to_test(drawn, device))
        measured = _per_member(training, state, sums, drawn, data, seen, test)
        seconds = time.perf_counter() - began
        for history, member, values in zip(histories, members, measured, strict=True):
            history.append(
                TaskRecord(
                    protocol=config.protocol,
                    dataset=config.dataset,
                    model=config.model,
                    method=job.method,
                    seed=member.seed,
                    task=task,
                    step=steps,
                    seconds=seconds,
                    **values,
                )
            )
        tick([history[-1] for history in histories])
        if lane.is_due() or task == config.stream_tasks:
            lane.save(
                state,
                {"histories": [list(map(dataclasses.asdict, h)) for h in histories]},
            )
    return histories


def to_learn(drawn: Sequence[Task], device: jax.Device | None = None) -> Data:
    """What a lane's members learn, along a leading axis."""
    tasks = [(one.inputs, one.targets, one.classes) for one in drawn]
    return _together(tasks, device)


def to_test(drawn: Sequence[Task], device: jax.Device | None = None) -> Data:
    """What a lane's members are tested on, along a leading axis."""
    tasks = [(one.test_inputs, one.test_targets, one.classes) for one in drawn]
    return _together(tasks, device)


def _together(tasks: Sequence[Any], device: jax.Device | None) -> Data:
    data = Data(*jax.tree.map(lambda *each: np.stack(each), *tasks))
    return jax.device_put(data, device)


def _per_member(
    training: Training,
    state: Any,
    sums: Sums,
    drawn: Sequence[Task],
    data: Data,
    seen: dict[str, Any],
    test: np.ndarray | None,
) -> list[dict[str, Any]]:
    """What a task's records say beside their names, of each member."""
    regression = training.objective is REGRESSION
    end = None
    if not regression and data.classes is None:
        end = training.accuracy(state, data)
    totals = {name: np.asarray(value) for name, value in sums.items()}
    found = []
    for i, task in enumerate(drawn):
        taken = (task.order >= 0).sum(axis=1)
        examples, steps = int(taken.sum()), int((taken > 0).sum())
        found.append(
            {
                "scored": int(task.scored),
                "online_accuracy": (
                    None if regression else float(totals["correct"][i] / examples)
                ),
                "end_accuracy": None if end is None else float(end[i]),
                "test_accuracy": None if test is None else float(test[i]),
                "train_loss": float(totals["loss"][i] / examples),
                "gradient_norm": float(totals["gradient_norm"][i] / steps),
                **of_member(seen, i, training.plan),
            }
        )
    return found


def _read_histories(saved: Any) -> Histories:
    return [
        [TaskRecord(**record) for record in history] for history in saved["histories"]
    ]

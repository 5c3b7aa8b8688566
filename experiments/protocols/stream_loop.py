"""Runs a stream: task after task, of every method and seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data import Dataset
from experiments.methods import METHODS
from experiments.protocols.config import OPTIMIZERS, Config
from experiments.protocols.records import OBSERVED, TaskRecord, of_member
from experiments.protocols.stages import PROTOCOLS
from experiments.protocols.streams import STREAMS
from experiments.protocols.tasks import Task
from experiments.training.checkpoint import Checkpoints
from experiments.training.lanes import Member, lanes, stacked
from experiments.training.network import build_network
from experiments.training.side_by_side import run_side_by_side
from experiments.training.step import CLASSIFICATION, REGRESSION
from experiments.training.training import Data, Sums, Training

Tick = Callable[[Sequence[TaskRecord]], None]
"""Called with the records of a task of some members."""

Histories = list[list[TaskRecord]]
"""All tasks so far, of each member."""


@dataclasses.dataclass(frozen=True)
class Job:
    """Some members of one method."""

    method: str
    members: tuple[Member, ...]


def run_stream(
    config: Config, dataset: Dataset, tick: Tick, checkpoints: Checkpoints
) -> list[TaskRecord]:
    """Runs all methods and seeds of a configuration; records in their order."""
    jobs = [Job(method, config.members(method)) for method in config.methods]
    found = run_jobs(config, dataset, jobs, tick, checkpoints)
    return [
        record for histories in found for history in histories for record in history
    ]


def run_jobs(
    config: Config,
    dataset: Dataset,
    jobs: Sequence[Job],
    tick: Tick,
    checkpoints: Checkpoints,
) -> list[Histories]:
    """Runs methods with seeds and coefficients; the records of each job's members.

    Jobs take turns seed by seed, so that one sees early how methods compare.
    """
    trainings = {
        method: stream_training(config, dataset, method)
        for method in dict.fromkeys(job.method for job in jobs)
    }
    parts = [
        (turn, i, Job(job.method, lane))
        for i, job in enumerate(jobs)
        for turn, lane in enumerate(lanes(job.members))
    ]
    parts.sort(key=lambda part: part[:2])

    def run(part: tuple[int, int, Job], tick: Tick) -> Histories:
        job = part[2]
        return _run_lane(config, dataset, job, trainings[job.method], tick, checkpoints)

    histories: list[Histories] = [[] for _ in jobs]
    for (_, i, _), found in zip(parts, run_side_by_side(run, parts, tick), strict=True):
        histories[i] += found
    return histories


def stream_training(config: Config, dataset: Dataset, method: str) -> Training:
    """What trains a method on a stream's tasks."""
    stream = STREAMS[config.protocol]
    outputs = stream.outputs or dataset.source.classes
    shape = (config.batch_size, *dataset.train_images.shape[1:])
    return Training(
        network=build_network(config.model, outputs, shape),
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
    first = STREAMS[config.protocol].draw(dataset, config.size, 0, 1)
    steps = config.stream_tasks * int((first.order >= 0).any(axis=1).sum())
    drops = PROTOCOLS["single-task-decay"].drops
    return tuple(int(drop * steps) for drop in drops)


def _run_lane(
    config: Config,
    dataset: Dataset,
    job: Job,
    training: Training,
    tick: Tick,
    checkpoints: Checkpoints,
) -> Histories:
    """Runs some members of a method together, from where they were saved last."""
    members, stream = job.members, STREAMS[config.protocol]
    arrays = stacked(members)
    state = training.initialize(members)
    initial = jax.tree.map(jnp.copy, state.params)
    histories: Histories = [[] for _ in members]
    lane = checkpoints.lane(job.method, members)
    saved = lane.load(state, _read_histories)
    if saved is not None:
        state, histories = saved
        tick([record for history in histories for record in history])
    last = histories[0][-1] if histories[0] else None
    steps = last.step if last else 0
    began = time.perf_counter() - (last.seconds if last else 0.0)
    for task in range(len(histories[0]) + 1, config.stream_tasks + 1):
        drawn = [
            stream.draw(dataset, config.size, member.seed, task) for member in members
        ]
        data, order = to_learn(drawn), np.stack([one.order for one in drawn])
        own = min(one.examples or len(one.inputs) for one in drawn)
        if training.method.fresh and task > 1:
            seeds = [config.fresh_seed(member.seed, task) for member in members]
            state = training.initialize(members, seeds)
            initial = jax.tree.map(jnp.copy, state.params)
        elif task > 1:
            passed = order[:, : own // config.batch_size]
            state = training.change_data(state, initial, arrays, data, passed)
        state, sums = training.run(state, arrays, data, order)
        steps += int((drawn[0].order >= 0).any(axis=1).sum())
        seen = training.observe(state, initial, data.inputs[:, : min(own, OBSERVED)])
        measured = _per_member(training, state, sums, drawn, data, seen)
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


def to_learn(drawn: Sequence[Task]) -> Data:
    """What a lane's members learn, along a leading axis."""
    return _together([(one.inputs, one.targets, one.classes) for one in drawn])


def held_out(drawn: Sequence[Task]) -> Data:
    """What a lane's members are tested on, along a leading axis."""
    return _together(
        [(one.test_inputs, one.test_targets, one.classes) for one in drawn]
    )


def _together(arrays: Sequence[Any]) -> Data:
    return Data(*jax.tree.map(lambda *each: jnp.asarray(np.stack(each)), *arrays))


def _per_member(
    training: Training,
    state: Any,
    sums: Sums,
    drawn: Sequence[Task],
    data: Data,
    seen: dict[str, Any],
) -> list[dict[str, Any]]:
    """What a task's records say beside their names, of each member."""
    regression = training.objective is REGRESSION
    end = test = None
    if not regression and data.classes is None:
        end = training.accuracy(state, data)
    if drawn[0].test_inputs is not None:
        test = training.accuracy(state, held_out(drawn))
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

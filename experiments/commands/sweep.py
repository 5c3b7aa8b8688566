"""The command ``sweep``: finds a coefficient and a learning rate, and tests them.

What is scored on test images compares them on held-out training images, as the paper's
protocols and class-incremental learning are. Streams and agents have seeds of their own
for it. Only the best is run on what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import json
import math
from pathlib import Path
import sys
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments.agents.agent_loop import run_jobs as run_agent_jobs
from experiments.agents.config import AgentConfig
from experiments.agents.records import LevelRecord
from experiments.commands import agents, stages, streams
from experiments.commands.folder import OTHERWISE, alone_in, changed, has_another
from experiments.commands.progress import Progress
from experiments.commands.tensorboard import event_writer
from experiments.data import Dataset
from experiments.errors import UserError
from experiments.files import check_writable, write_files
from experiments.methods import METHODS
from experiments.methods.coefficients import Coefficient, in_words
from experiments.protocols.comparison import SWEEP_SEED
from experiments.protocols.config import Config
from experiments.protocols.records import Record, TaskRecord, write_rows
from experiments.protocols.stage_loop import run_members
from experiments.protocols.stages import PROTOCOLS
from experiments.protocols.stream_loop import run_jobs
from experiments.protocols.streams import STREAMS
from experiments.reporting import ranking
from experiments.reporting.drawing.plane import draw_plane
from experiments.reporting.naming import (
    digits,
    has_tasks,
    lower_is_better,
    metric,
    score_in_words,
)
from experiments.training.checkpoint import Checkpoints
from experiments.training.compiled import keep_compiled_programs
from experiments.training.engine import Engine, Tick, run_here
from experiments.training.lanes import Job, Member
from experiments.training.stopping import saving_first

HELD_OUT = 0.1
"""Fraction of the training images that then stand in for the test images."""

STREAM_RATES = (1e-3, 1e-4)
"""Adam's learning rates that Kumar et al. (arXiv 2308.11958) try on streams."""

SEEDS = 3
"""So many of their own streams and agents are compared on, from SWEEP_SEED."""

Histories = list[list[Any]]
"""The records of each seed."""

Compare = Callable[[Sequence["Point"], Checkpoints, Engine], list[Histories]]
"""What runs points; the histories of each."""


class Point(NamedTuple):
    """What is tried.

    Attributes:
        coefficient: None for a method that has none.
        rate: the learning rate.
    """

    coefficient: Coefficient | None
    rate: float


def run(
    config: Config | AgentConfig,
    grid: Sequence[Coefficient],
    rates: Sequence[float],
    out: Path,
    data_dir: str | None,
    tensorboard: bool,
    engine: Engine = run_here,
    restart: bool = False,
) -> None:
    """Compares coefficients and rates, then runs the best.

    Writes ``sweep.csv`` into the folder, with all evaluations, ``sweep.json`` with
    the score of each, ``map.png`` if two things were varied, and the best one's run
    into ``best`` below it. What is there already is not run again.

    Args:
        config: of the run.
        grid: coefficients; the published ones if empty.
        rates: learning rates; by default the configuration's, or the published ones
            of streams.
        out: the folder.
        data_dir: of TFDS.
        tensorboard: whether the best run writes event files.
        engine: what works on all of it.
        restart: whether what is there already is run again.

    Raises:
        UserError: if there is nothing to find, the data cannot be had or the folder
            not be written.
    """
    (method,) = config.methods
    points = points_of(config, grid, rates)
    if tensorboard:
        event_writer()  # To fail before the sweep rather than after it.
    check_writable(out)
    with alone_in(out):
        scores = None if restart else finished_scores(out, _identity(config, points))
        checkpoints = None
        if scores is None:
            known, compare = _comparing(config, data_dir)
            identity = _identity(known, points)
            checkpoints = Checkpoints(out / "checkpoint", identity, restart)
            scores = _compare(
                known, compare, points, out, identity, checkpoints, engine
            )
        # What diverges is the worst.
        best = int(np.argmax(np.nan_to_num(scores.mean(axis=1), nan=-np.inf)))
        Console().print(_table(config, points, scores, best))
        coefficient, rate = points[best]
        chosen = dataclasses.replace(
            config,
            coefficients={} if coefficient is None else {method: coefficient},
            learning_rates={method: rate},
        )
        # It is this sweep's, whatever an earlier one left there.
        restart |= has_another(out / "best", chosen.to_json())
        if isinstance(chosen, AgentConfig):
            agents.run(chosen, out / "best", tensorboard, engine, restart)
        else:
            command = streams.run if chosen.is_stream else stages.run
            command(chosen, out / "best", data_dir, tensorboard, engine, restart)
        if checkpoints is not None:  # Not before, or all would be compared again.
            checkpoints.remove()


def _identity(config: Config | AgentConfig, points: Sequence[Point]) -> str:
    tried = [f"{coefficient} at {rate}" for coefficient, rate in points]
    return json.dumps({**json.loads(config.to_json()), "tried": tried})


def finished_scores(out: Path, identity: str) -> np.ndarray | None:
    """Scores of a sweep that a folder has already, which is said; else None.

    Raises:
        UserError: if it has another one.
    """
    if (out / "checkpoint").exists():
        return None
    try:
        there = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
        changes = changed(there["run"], identity)
        scores = np.array(there["scores"], float)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
    if changes:
        raise UserError(f"{out} has another sweep ({changes}): {OTHERWISE}")
    print(f"{out} has this sweep already: --restart runs it again", file=sys.stderr)
    return scores


def _compare(
    config: Config | AgentConfig,
    compare: Compare,
    points: Sequence[Point],
    out: Path,
    identity: str,
    checkpoints: Checkpoints,
    engine: Engine,
) -> np.ndarray:
    """Runs each point for each seed and writes the files; scores, (points, seeds)."""
    with saving_first():
        histories = compare(points, checkpoints, engine)
    scores = np.array([[score(of_seed) for of_seed in found] for found in histories])
    rows = [
        row_of(record, point)
        for point, found in zip(points, histories, strict=True)
        for of_seed in found
        for record in of_seed
    ]
    plane = [(point.coefficient, point.rate) for point in points]
    told = json.dumps({"run": json.loads(identity), "scores": scores.tolist()})
    files = {
        "sweep.csv": lambda path: write_rows(path, rows),
        "sweep.json": lambda path: path.write_text(told, encoding="utf-8"),
    }
    drawing = draw_plane(_title(config), plane, scores.mean(axis=1))
    if drawing is not None:
        files["map.png"] = lambda path: drawing.savefig(path, dpi=160)
    print("wrote", *write_files(out, files))
    return scores


def _comparing(
    config: Config | AgentConfig, data_dir: str | None
) -> tuple[Config | AgentConfig, Compare]:
    """What compares points, once it has what it compares them on.

    The configuration then knows its data.
    """
    (method,) = config.methods
    if isinstance(config, AgentConfig):
        keep_compiled_programs()
        play = functools.partial(run_agent_jobs, config)
        return config, functools.partial(
            compare_on_seeds, method, play, config.tasks, "levels"
        )
    config, dataset = stages.prepare(config, data_dir)
    if metric(config.protocol) == "test_accuracy":
        dataset = without_test(config, dataset)
    if config.is_stream:
        learn = functools.partial(run_jobs, config, dataset)
        return config, functools.partial(
            compare_on_seeds, method, learn, config.stream_tasks, "tasks"
        )
    return config, functools.partial(compare_on_images, config, dataset)


def points_of(
    config: Config | AgentConfig, grid: Sequence[Coefficient], rates: Sequence[float]
) -> list[Point]:
    """What is to be tried.

    Raises:
        UserError: for what cannot be swept.
    """
    (method,) = config.methods
    staged = config.protocol in PROTOCOLS
    if not rates:
        more = STREAM_RATES if config.protocol in STREAMS else ()
        # The method's own comes first, which an optimiser of its own may have.
        rates = tuple(dict.fromkeys((config.rate(method), *more)))
    grid = grid or METHODS[method].grid
    if METHODS[method].default is None and (grid or staged):
        known = ", ".join(name for name in METHODS if METHODS[name].grid)
        raise UserError(
            f"method {method!r} has no coefficient to find: choose from {known}"
        )
    names = [in_words(coefficient) for coefficient in grid]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--grid has {name} twice")
    if len({isinstance(coefficient, Mapping) for coefficient in grid}) > 1:
        raise UserError(
            "--grid must have one number everywhere, or one for each group everywhere"
        )
    if len(set(rates)) < len(rates):
        raise UserError("--rates has a number twice")
    for coefficient in grid:
        dataclasses.replace(config, coefficients={method: coefficient})
    for rate in rates:
        dataclasses.replace(config, learning_rates={method: rate})
    values: Sequence[Coefficient | None] = grid or [None]
    return [Point(value, rate) for rate in rates for value in values]


def without_test(config: Config, dataset: Dataset) -> Dataset:
    """The data set with a part of its training images in the place of its test.

    Raises:
        UserError: if too few images are left to train on.
    """
    if config.is_stream:  # A task has whole classes, and tests on them.
        return dataset.held_out_of_each_class(HELD_OUT)
    dataset = dataset.held_out(HELD_OUT)
    left, needed = len(dataset.train_labels), config.protocol_stages
    if left < needed:
        raise UserError(
            f"of train_images only {left} are not held out, fewer than the {needed}"
            f" stages of {config.protocol}"
        )
    return dataset


def compare_on_images(
    config: Config,
    dataset: Dataset,
    points: Sequence[Point],
    checkpoints: Checkpoints,
    engine: Engine = run_here,
) -> list[list[list[Record]]]:
    """Records for each point and seed."""
    (method,) = config.methods
    members = [
        Member(seed, point.coefficient or 0.0, point.rate)
        for point in points
        for seed in config.seed_range
    ]
    epochs = config.protocol_stages * config.epochs * len(members)
    with Progress(Console(stderr=True), epochs) as progress:

        def tick(records: Sequence[Record]) -> None:
            progress.advance(method, sum(1 for record in records if record.epoch))

        found = run_members(config, dataset, method, members, tick, checkpoints, engine)
    return [found[i : i + config.seeds] for i in range(0, len(found), config.seeds)]


def compare_on_seeds(
    method: str,
    learn: Callable[[list[Job], Tick[Any], Checkpoints, Engine], list[Histories]],
    count: int,
    unit: str,
    points: Sequence[Point],
    checkpoints: Checkpoints,
    engine: Engine = run_here,
) -> list[Histories]:
    """Records for each point and seed, on seeds that no other run has.

    Args:
        method: that is swept.
        learn: runs the jobs, each a point with its seeds.
        count: of the tasks or levels that a seed goes through.
        unit: which of the two, in the plural.
        points: what is tried.
        checkpoints: of the sweep.
        engine: what works on it.
    """
    seeds = range(SWEEP_SEED, SWEEP_SEED + SEEDS)
    jobs = [
        Job(method, tuple(Member(s, p.coefficient or 0.0, p.rate) for s in seeds))
        for p in points
    ]
    total = count * SEEDS * len(points)
    with Progress(Console(stderr=True), total, unit) as progress:

        def tick(records: Sequence[Any]) -> None:
            progress.advance(method, len(records))

        return learn(jobs, tick, checkpoints, engine)


def score(
    history: Sequence[Record] | Sequence[TaskRecord] | Sequence[LevelRecord],
) -> float:
    """What a seed is worth, as the report ranks it; NaN if it diverged."""
    found = ranking.scores(pd.DataFrame([record.row() for record in history]))
    scored = found["score"].where(~found["diverged"])
    worth = float(scored.iloc[0]) if len(scored) else math.nan
    return -worth if lower_is_better(history[0].protocol) else worth


def row_of(record: Record | TaskRecord | LevelRecord, point: Point) -> dict[str, Any]:
    """A record with what was tried; a test accuracy is that on held-out images."""
    columns: dict[str, Any] = {"learning_rate": point.rate}
    if isinstance(point.coefficient, Mapping):
        for group, value in point.coefficient.items():
            columns[f"coefficient/{group}"] = value
    elif point.coefficient is not None:
        columns["coefficient"] = float(point.coefficient)
    row = record.row()
    if metric(record.protocol) == "test_accuracy":
        row = {
            name.replace("test_accuracy", "validation_accuracy"): value
            for name, value in row.items()
        }
    return columns | row


def _title(config: Config | AgentConfig) -> str:
    """What was swept, and below that what it is judged by."""
    (method,) = config.methods
    what = score_in_words(config.protocol)
    what = what.replace("test accuracy", "accuracy on held-out training images")
    if has_tasks(config.protocol):
        sign = "minus the " if lower_is_better(config.protocol) else ""
        what = f"{sign}{what}, seeds {SWEEP_SEED} to {SWEEP_SEED + SEEDS - 1}"
    return f"{method}, {config.protocol}, {config.dataset}, {config.model}\n{what}"


def _table(
    config: Config | AgentConfig, points: Sequence[Point], scores: np.ndarray, best: int
) -> Table:
    table = Table(title=_title(config).replace("\n", ": "))
    for name in ("λ", "learning rate", "mean over seeds"):
        table.add_column(name, justify="right")
    table.add_column("")
    for i, point in enumerate(points):
        table.add_row(
            in_words(point.coefficient),
            f"{point.rate:g}",
            format(scores[i].mean(), digits(config.protocol, ".4f")),
            "best" if i == best else "",
        )
    return table

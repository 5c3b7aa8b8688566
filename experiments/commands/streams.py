"""The command ``stream``: a run of tasks as a user sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
import time
from typing import Any

import pandas as pd
from rich.console import Console

from experiments.agents.records import LevelRecord
from experiments.commands.folder import alone_in, finished_rows
from experiments.commands.live_table import LiveTable, Shown
from experiments.commands.stages import name_defaults, prepare
from experiments.commands.tensorboard import event_files
from experiments.files import check_writable
from experiments.protocols.comparison import Comparison
from experiments.protocols.config import Config
from experiments.protocols.records import TaskRecord
from experiments.protocols.stream_loop import run_stream
from experiments.protocols.streams import STREAMS
from experiments.reporting.run_files import tasks_table, write_run
from experiments.reporting.runs import read_run
from experiments.reporting.verdict import verdict
from experiments.training.checkpoint import Checkpoints
from experiments.training.engine import Engine, Tick, run_here
from experiments.training.stopping import saving_first

Learn = Callable[[Tick[Any], Checkpoints], Sequence[TaskRecord | LevelRecord]]
"""Runs all lanes; their records."""


def run(
    config: Config,
    out: Path,
    data_dir: str | None,
    tensorboard: bool,
    engine: Engine = run_here,
    restart: bool = False,
) -> None:
    """Runs a stream, prints who keeps learning and writes its folder.

    What the folder has already is not run again, unless that is wanted.

    Raises:
        UserError: if the data cannot be had or the folder not be written.
    """

    def with_data() -> tuple[Config, Learn]:
        known, dataset = prepare(config, data_dir)
        name_defaults(known)
        return known, lambda tick, checkpoints: run_stream(
            known, dataset, tick, checkpoints, engine
        )

    run_tasks(config, shown(config), with_data, out, tensorboard, restart)


def run_tasks(
    config: Comparison,
    shown: Shown,
    ready: Callable[[], tuple[Comparison, Learn]],
    out: Path,
    tensorboard: bool,
    restart: bool,
) -> None:
    """Runs whatever has tasks, as :func:`run` says.

    Args:
        config: of the run.
        shown: while it runs.
        ready: makes what is needed to learn, if there is anything to be learnt; the
            configuration, which then knows its data, and what learns.
        out: the run's folder.
        tensorboard: whether event files are written.
        restart: whether it is run though the folder has it.

    Raises:
        UserError: if the folder cannot be written, or what ``ready`` raises.
    """
    check_writable(out)
    events = event_files(out, tensorboard)
    with alone_in(out):
        rows = None if restart else finished_rows(out, config.to_json(), tensorboard)
        if rows is not None:
            _show(config, rows)
            return
        config, learn = ready()
        began = time.perf_counter()
        checkpoints = Checkpoints(out / "checkpoint", config.to_json(), restart)
        live = LiveTable(Console(stderr=True), shown)
        with saving_first(), live as table, events as files_of_events:

            def tick(records: Sequence[Any]) -> None:
                table.add(records)
                if files_of_events is not None:
                    files_of_events.add(records)

            records = learn(tick, checkpoints)
        files = write_run(out, config, [record.row() for record in records])
        checkpoints.remove()
        _show(config, read_run(out).metrics)
        print(f"{time.perf_counter() - began:.0f} s; wrote", *files)


def _show(config: Comparison, frame: pd.DataFrame) -> None:
    coefficients = {method: config.coefficient(method) for method in config.methods}
    console = Console()
    console.print(tasks_table(frame, coefficients))
    console.print(f"\n{verdict(frame)}\n", markup=False, highlight=False)


def shown(config: Config) -> Shown:
    """What is seen of a stream while it runs."""
    stream = STREAMS[config.protocol]
    return Shown(
        heading=f"{stream.title}, {config.dataset}, {config.model}",
        methods=config.methods,
        seeds=config.seeds,
        tasks=config.stream_tasks,
        column="loss" if stream.regression else stream.metric.replace("_", " "),
        score=lambda record: stream.score(record) if record.scored else None,
    )

"""The command ``stream``: a run as a user sees it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
import time

import pandas as pd
from rich.console import Console

from experiments.commands.folder import alone_in, finished_rows
from experiments.commands.live_table import LiveTable, Shown
from experiments.commands.stages import prepare
from experiments.commands.tensorboard import EventFiles, event_files
from experiments.files import check_writable
from experiments.protocols.config import Config
from experiments.protocols.records import TaskRecord
from experiments.protocols.stream_loop import run_stream
from experiments.protocols.streams import STREAMS
from experiments.reporting.run_files import tasks_table, write_run
from experiments.reporting.runs import read_run
from experiments.reporting.verdict import verdict
from experiments.training.checkpoint import Checkpoints
from experiments.training.engine import Engine, run_here
from experiments.training.stopping import saving_first


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
    check_writable(out)
    events = event_files(out, tensorboard)
    with alone_in(out):
        rows = None if restart else finished_rows(out, config.to_json())
        if rows is None:
            _learn(config, out, data_dir, events, engine, restart)
        else:
            _show(config, rows)


def _learn(
    config: Config,
    out: Path,
    data_dir: str | None,
    events: AbstractContextManager[EventFiles | None],
    engine: Engine,
    restart: bool,
) -> None:
    dataset = prepare(config, data_dir)
    began = time.perf_counter()
    checkpoints = Checkpoints(out / "checkpoint", config.to_json(), restart)
    live = LiveTable(Console(stderr=True), shown(config))
    with saving_first(), live as table, events as files_of_events:

        def tick(records: Sequence[TaskRecord]) -> None:
            table.add(records)
            if files_of_events is not None:
                files_of_events.add(records)

        records = run_stream(config, dataset, tick, checkpoints, engine)
    rows = [record.row() for record in records]
    files = write_run(out, config, rows)
    checkpoints.remove()
    _show(config, read_run(out).metrics)
    print(f"{time.perf_counter() - began:.0f} s; wrote", *files)


def _show(config: Config, frame: pd.DataFrame) -> None:
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

"""The command ``stream``: a run as a user sees it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import time

import pandas as pd
from rich.console import Console

from experiments.commands.live_table import LiveTable, Shown
from experiments.commands.stages import prepare
from experiments.commands.tensorboard import event_files
from experiments.files import check_writable
from experiments.protocols.config import Config
from experiments.protocols.records import TaskRecord
from experiments.protocols.stream_loop import run_stream
from experiments.protocols.streams import STREAMS
from experiments.reporting.run_files import tasks_table, write_run
from experiments.reporting.verdict import verdict
from experiments.training.checkpoint import Checkpoints
from experiments.training.engine import Engine, run_here


def run(
    config: Config,
    out: Path,
    data_dir: str | None,
    tensorboard: bool,
    engine: Engine = run_here,
) -> None:
    """Runs a stream, prints who keeps learning and writes its folder.

    Raises:
        UserError: if the data cannot be had or the folder not be written.
    """
    check_writable(out)
    events = event_files(out, tensorboard)
    dataset = prepare(config, data_dir)
    began = time.perf_counter()
    checkpoints = Checkpoints(out / "checkpoint", config.to_json())
    console = Console(stderr=True)
    with LiveTable(console, shown(config)) as table, events as files_of_events:

        def tick(records: Sequence[TaskRecord]) -> None:
            table.add(records)
            if files_of_events is not None:
                files_of_events.add(records)

        records = run_stream(config, dataset, tick, checkpoints, engine)
    rows = [record.row() for record in records]
    files = write_run(out, config, rows)
    checkpoints.remove()
    frame = pd.DataFrame(rows)
    coefficients = {method: config.coefficient(method) for method in config.methods}
    console = Console()
    console.print(tasks_table(frame, coefficients))
    console.print(f"\n{verdict(frame)}\n", markup=False, highlight=False)
    print(f"{time.perf_counter() - began:.0f} s; wrote", *files)


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

"""The command ``stream``: a run as a user sees it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import time

import pandas as pd
from rich.console import Console

from experiments.commands.live_table import LiveTable
from experiments.commands.stages import prepare
from experiments.commands.tensorboard import event_files
from experiments.files import check_writable
from experiments.protocols.config import Config
from experiments.protocols.records import TaskRecord
from experiments.protocols.stream_loop import run_stream
from experiments.reporting.run_files import stream_table, write_run
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
    with LiveTable(Console(stderr=True), config) as table, events as files_of_events:

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
    console.print(stream_table(frame, coefficients))
    console.print(f"\n{verdict(frame)}\n", markup=False, highlight=False)
    print(f"{time.perf_counter() - began:.0f} s; wrote", *files)

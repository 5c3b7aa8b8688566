"""The command ``agent``: a run as a user sees it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
import time

import pandas as pd
from rich.console import Console

from experiments.agents.agent_loop import run_agents
from experiments.agents.config import AgentConfig
from experiments.agents.records import LevelRecord
from experiments.commands.folder import alone_in, finished_rows
from experiments.commands.live_table import LiveTable, Shown
from experiments.commands.tensorboard import EventFiles, event_files
from experiments.files import check_writable
from experiments.reporting.run_files import tasks_table, write_run
from experiments.reporting.runs import read_run
from experiments.reporting.verdict import verdict
from experiments.training.checkpoint import Checkpoints
from experiments.training.compiled import keep_compiled_programs
from experiments.training.engine import Engine, run_here
from experiments.training.stopping import saving_first


def run(
    config: AgentConfig,
    out: Path,
    tensorboard: bool,
    engine: Engine = run_here,
    restart: bool = False,
) -> None:
    """Runs agents, prints who keeps learning and writes the run's folder.

    What the folder has already is not run again, unless that is wanted.

    Raises:
        UserError: if the folder cannot be written.
    """
    check_writable(out)
    events = event_files(out, tensorboard)
    with alone_in(out):
        rows = None if restart else finished_rows(out, config.to_json())
        if rows is None:
            _learn(config, out, events, engine, restart)
        else:
            _show(config, rows)


def _learn(
    config: AgentConfig,
    out: Path,
    events: AbstractContextManager[EventFiles | None],
    engine: Engine,
    restart: bool,
) -> None:
    keep_compiled_programs()
    began = time.perf_counter()
    checkpoints = Checkpoints(out / "checkpoint", config.to_json(), restart)
    live = LiveTable(Console(stderr=True), shown(config))
    with saving_first(), live as table, events as files_of_events:

        def tick(records: Sequence[LevelRecord]) -> None:
            table.add(records)
            if files_of_events is not None:
                files_of_events.add(records)

        records = run_agents(config, tick, checkpoints, engine)
    files = write_run(out, config, [record.row() for record in records])
    checkpoints.remove()
    _show(config, read_run(out).metrics)
    print(f"{time.perf_counter() - began:.0f} s; wrote", *files)


def _show(config: AgentConfig, frame: pd.DataFrame) -> None:
    coefficients = {method: config.coefficient(method) for method in config.methods}
    console = Console()
    console.print(tasks_table(frame, coefficients))
    console.print(f"\n{verdict(frame)}\n", markup=False, highlight=False)


def shown(config: AgentConfig) -> Shown:
    """What is seen of a run while it goes on."""
    return Shown(
        heading=f"{config.environment.title}, {config.model}",
        methods=config.methods,
        seeds=config.seeds,
        tasks=config.tasks,
        unit="levels",
        column="average return",
        score=lambda record: record.average_return,
        form=".1f",
    )

"""The command ``agent``: a run as a user sees it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import time

import pandas as pd
from rich.console import Console

from experiments.agents.agent_loop import run_agents
from experiments.agents.config import AgentConfig
from experiments.agents.records import LevelRecord
from experiments.commands.live_table import LiveTable, Shown
from experiments.commands.tensorboard import event_files
from experiments.files import check_writable
from experiments.reporting.run_files import tasks_table, write_run
from experiments.reporting.verdict import verdict
from experiments.training.checkpoint import Checkpoints
from experiments.training.compiled import keep_compiled_programs
from experiments.training.engine import Engine, run_here


def run(
    config: AgentConfig,
    out: Path,
    tensorboard: bool,
    engine: Engine = run_here,
) -> None:
    """Runs agents, prints who keeps learning and writes the run's folder.

    Raises:
        UserError: if gymnax is missing or the folder cannot be written.
    """
    check_writable(out)
    events = event_files(out, tensorboard)
    keep_compiled_programs()
    began = time.perf_counter()
    checkpoints = Checkpoints(out / "checkpoint", config.to_json())
    console = Console(stderr=True)
    with LiveTable(console, shown(config)) as table, events as files_of_events:

        def tick(records: Sequence[LevelRecord]) -> None:
            table.add(records)
            if files_of_events is not None:
                files_of_events.add(records)

        records = run_agents(config, tick, checkpoints, engine)
    rows = [record.row() for record in records]
    files = write_run(out, config, rows)
    checkpoints.remove()
    frame = pd.DataFrame(rows)
    coefficients = {method: config.coefficient(method) for method in config.methods}
    console = Console()
    console.print(tasks_table(frame, coefficients))
    console.print(f"\n{verdict(frame)}\n", markup=False, highlight=False)
    print(f"{time.perf_counter() - began:.0f} s; wrote", *files)


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

"""The command ``proportionality``: figure 1 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import time

from rich.console import Console

from experiments.commands.folder import alone_in, finished_rows
from experiments.commands.progress import Progress
from experiments.commands.stages import name_defaults, prepare
from experiments.errors import UserError
from experiments.files import check_writable
from experiments.protocols.config import Config
from experiments.protocols.proportionality import epochs_of, run_proportionality
from experiments.reporting.run_files import proportionality_table, write_run
from experiments.reporting.runs import read_run
from experiments.training.checkpoint import Checkpoints
from experiments.training.engine import Engine, run_here
from experiments.training.stopping import saving_first


def run(
    config: Config,
    out: Path,
    data_dir: str | None,
    engine: Engine = run_here,
    restart: bool = False,
) -> None:
    """Trains, scales, measures, trains on; writes the run's folder.

    What the folder has already is not run again, unless that is wanted.

    Raises:
        UserError: for more than one method, or if the data cannot be had or the
            folder not be written.
    """
    if len(config.methods) > 1:
        raise UserError("proportionality scales one network: name one method")
    check_writable(out)
    with alone_in(out):
        rows = None if restart else finished_rows(out, config.to_json())
        if rows is None:
            _measure(config, out, data_dir, engine, restart)
        else:
            Console().print(proportionality_table(config, rows))


def _measure(
    config: Config, out: Path, data_dir: str | None, engine: Engine, restart: bool
) -> None:
    config, dataset = prepare(config, data_dir)
    name_defaults(config)
    began = time.perf_counter()
    checkpoints = Checkpoints(out / "checkpoint", config.to_json(), restart)
    with saving_first(), Progress(Console(stderr=True), epochs_of(config)) as progress:

        def tick(epochs: Sequence[int]) -> None:
            progress.advance(config.methods[0], len(epochs))

        rows = run_proportionality(config, dataset, tick, checkpoints, engine)
    files = write_run(out, config, rows)
    checkpoints.remove()
    Console().print(proportionality_table(config, read_run(out).metrics))
    seconds = time.perf_counter() - began
    print(f"{seconds:.0f} s; wrote", *files)

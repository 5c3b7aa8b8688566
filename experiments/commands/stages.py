"""One run as a user sees it: progress, table, files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
import dataclasses
from pathlib import Path
import sys
import time

from rich.console import Console

from experiments.agents.config import AGENT, AgentConfig
from experiments.commands.folder import alone_in, finished_rows
from experiments.commands.progress import Progress
from experiments.commands.tensorboard import EventFiles, event_files
from experiments.data import Dataset, load_dataset
from experiments.files import check_writable
from experiments.methods.coefficients import in_words
from experiments.protocols.config import Config
from experiments.protocols.records import Record
from experiments.protocols.stage_loop import epochs_of, run_protocol
from experiments.protocols.streams import STREAMS
from experiments.reporting.naming import has_tasks
from experiments.reporting.run_files import summary_table, write_run
from experiments.reporting.runs import read_run
from experiments.training.checkpoint import Checkpoints
from experiments.training.compiled import keep_compiled_programs
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
    """Runs a configuration, prints its table and writes its folder.

    What the folder has already is not run again, unless that is wanted.

    Raises:
        UserError: if the data cannot be had or the folder not be written, or if
            what writes event files is missing.
    """
    check_writable(out)
    events = event_files(out, tensorboard)
    with alone_in(out):
        rows = None if restart else finished_rows(out, config.to_json(), tensorboard)
        if rows is None:
            _train(config, out, data_dir, events, engine, restart)
        else:
            Console().print(summary_table(config, rows))


def _train(
    config: Config,
    out: Path,
    data_dir: str | None,
    events: AbstractContextManager[EventFiles | None],
    engine: Engine,
    restart: bool,
) -> None:
    config, dataset = prepare(config, data_dir)
    name_defaults(config)
    start = time.perf_counter()
    checkpoints = Checkpoints(out / "checkpoint", config.to_json(), restart)
    progress = Progress(Console(stderr=True), epochs_of(config))
    with saving_first(), progress, events as files_of_events:

        def tick(records: Sequence[Record]) -> None:
            done = sum(1 for record in records if record.epoch)
            progress.advance(records[0].method, done)
            if files_of_events is not None:
                files_of_events.add(records)

        records = run_protocol(config, dataset, tick, checkpoints, engine)

    rows = [record.row() for record in records]
    files = write_run(out, config, rows)
    checkpoints.remove()
    Console().print(summary_table(config, read_run(out).metrics))
    print(f"{time.perf_counter() - start:.0f} s; wrote", *files)


def prepare(config: Config, data_dir: str | None) -> tuple[Config, Dataset]:
    """Loads the data, and lets compiled programs be kept.

    Returns:
        The configuration, which now knows its data, and what is to be learnt of them.

    Raises:
        UserError: if the data cannot be had, or not so many.
    """
    dataset = load_dataset(config.dataset, data_dir)
    keep_compiled_programs()
    config = dataclasses.replace(config, data=dataset.digest)
    if config.is_stream and STREAMS[config.protocol].regression:  # Which draws them.
        return config, dataset
    chosen = dataset.subset(config.train_images, config.test_images)
    # A stream's tasks choose themselves.
    return config, dataset if config.is_stream else chosen


def name_defaults(config: Config | AgentConfig) -> None:
    """Says which coefficients are neither published nor a sweep's."""
    ours = ", ".join(
        f"{method} {in_words(config.coefficient(method))}"
        for method in config.unpublished()
    )
    if ours:
        lacks = f"the paper has no coefficients for {config.protocol} of"
        lacks = f"{lacks} {config.dataset} with {config.model}"
        if has_tasks(config.protocol):
            where = "with agents" if config.protocol == AGENT else "on streams"
            lacks = f"no sweep has chosen coefficients for these methods {where}"
        print(f"{lacks}: taking {ours} (--coefficient sets them)", file=sys.stderr)

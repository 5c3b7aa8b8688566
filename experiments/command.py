"""One run as a user sees it: progress, table, files."""

from __future__ import annotations

from pathlib import Path
import time

import jax
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from experiments.cache import cache_folder
from experiments.config import Config
from experiments.datasets import load_dataset
from experiments.methods import METHODS
from experiments.report import check_writable, summary_table, write_run
from experiments.warm_start import epochs_of, run_warm_start


def run(config: Config, out: Path, data_dir: str | None) -> None:
    """Runs a configuration, prints its table and writes its folder.

    Raises:
        UserError: if the data cannot be had or the folder not be written.
    """
    check_writable(out)
    dataset = load_dataset(config.dataset, data_dir)
    # A second run compiles nothing anew.
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

    start = time.perf_counter()
    messages = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # In a log, where a bar would be a flood, a line for each method.
    in_terminal = messages.is_terminal
    with Progress(*columns, console=messages, disable=not in_terminal) as progress:
        bar = progress.add_task("starting", total=epochs_of(config))
        seen: list[str] = []

        def tick(method: str, seeds: int) -> None:
            if method not in seen:
                seen.append(method)
                if not in_terminal:
                    messages.print(f"{METHODS[method].label} …", highlight=False)
            progress.update(bar, advance=seeds, description=METHODS[method].label)

        records = run_warm_start(config, dataset, tick)

    files = write_run(out, config, records)
    console = Console()
    console.print(summary_table(config, records))
    seconds = time.perf_counter() - start
    console.print(f"{seconds:.0f} s; wrote", *map(str, files), soft_wrap=True)

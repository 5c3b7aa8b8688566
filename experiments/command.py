"""One run as a user sees it: progress, table, files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import time

import jax
from rich.console import Console

from experiments.cache import cache_folder
from experiments.checkpoint import Checkpoints
from experiments.config import Config
from experiments.datasets import Dataset, load_dataset
from experiments.loop import epochs_of, run_protocol
from experiments.progress import Progress
from experiments.records import Record
from experiments.report import check_writable, in_words, summary_table, write_run
from experiments.tensorboard import EventFiles


def run(config: Config, out: Path, data_dir: str | None, tensorboard: bool) -> None:
    """Runs a configuration, prints its table and writes its folder.

    Raises:
        UserError: if the data cannot be had or the folder not be written.
    """
    check_writable(out)
    events = EventFiles(out / "tensorboard") if tensorboard else None
    dataset = prepare(config, data_dir)
    start = time.perf_counter()
    messages = Console(stderr=True)
    checkpoints = Checkpoints(out / "checkpoint", config.to_json())
    with Progress(messages, epochs_of(config)) as progress:

        def tick(method: str, records: Sequence[Record]) -> None:
            progress.advance(method, sum(1 for record in records if record.epoch))
            if events is not None:
                events.add(records)

        records = run_protocol(config, dataset, tick, checkpoints)
    if events is not None:
        events.close()

    files = write_run(out, config, [record.row() for record in records])
    checkpoints.remove()
    console = Console()
    console.print(summary_table(config, records))
    seconds = time.perf_counter() - start
    console.print(f"{seconds:.0f} s; wrote", *map(str, files), soft_wrap=True)


def prepare(config: Config, data_dir: str | None) -> Dataset:
    """Loads the data, and says which coefficients are no published ones.

    Raises:
        UserError: if the data cannot be had.
    """
    dataset = load_dataset(config.dataset, data_dir)
    ours = ", ".join(
        f"{method} {in_words(config.coefficient(method))}"
        for method in config.unpublished()
    )
    if ours:
        Console(stderr=True).print(
            f"the paper has no coefficients for {config.protocol} of {config.dataset}"
            f" with {config.model}: taking {ours} (--coefficient sets them)",
            highlight=False,
            soft_wrap=True,
        )
    # A second run compiles nothing anew.
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return dataset.subset(config.train_images, config.test_images)

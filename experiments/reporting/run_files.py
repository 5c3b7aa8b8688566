"""What a run leaves behind: its folder, its table and its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from experiments.files import write_files
from experiments.methods import METHODS
from experiments.methods.coefficients import in_words
from experiments.protocols.config import Config
from experiments.protocols.records import Record, write_rows
from experiments.protocols.stages import PROTOCOLS
from experiments.reporting import plots
from experiments.reporting.cells import gather
from experiments.reporting.runs import read_run


def final_results(records: Sequence[Record], method: str) -> tuple[np.ndarray, ...]:
    """Test accuracy and weight growth of each seed after its last epoch."""
    last = {
        record.seed: record
        for record in sorted(records, key=lambda r: r.step)
        if record.method == method
    }
    ends = [last[seed] for seed in sorted(last)]
    return (
        np.array([end.test_accuracy for end in ends]),
        np.array([end.weight_growth for end in ends]),
    )


def summary_table(config: Config, records: Sequence[Record]) -> Table:
    """Mean ± standard deviation over seeds at the end of each method's training."""
    each = " a stage" if config.protocol_stages > 1 else ""
    table = Table(
        title=f"{config.protocol}, {config.dataset}, {config.model}:"
        f" {_count(config.epochs, 'epoch')}{each}, {_count(config.seeds, 'seed')},"
        f" profile {config.profile}"
    )
    table.add_column("method")
    table.add_column("λ", justify="right")
    table.add_column("test accuracy", justify="right")
    table.add_column("weight growth", justify="right")
    for method in config.methods:
        accuracy, growth = final_results(records, method)
        coefficient = config.coefficient(method)
        table.add_row(
            METHODS[method].label,
            in_words(coefficient),
            _mean_and_deviation(accuracy, 4),
            _mean_and_deviation(growth, 2),
        )
    return table


def proportionality_table(config: Config, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Mean ± standard deviation over seeds for each ratio, biases and time."""
    table = Table(
        title="test accuracy after scaling once with biases rescaled or kept,"
        f" {config.dataset}, {config.model}, {config.methods[0]}:"
        f" {_count(config.epochs, 'epoch')}, {_count(config.seeds, 'seed')}, profile"
        f" {config.profile}",
        pad_edge=False,  # Or it would not fit a terminal's 80 columns.
    )
    table.add_column("ratio", justify="right")
    columns = dict.fromkeys((row["biases"], row["when"]) for row in rows)
    for biases, when in columns:
        table.add_column(f"{biases}, {when}", justify="right")
    for ratio in dict.fromkeys(row["ratio"] for row in rows):
        found = (
            np.array(
                [
                    row["test_accuracy"]
                    for row in rows
                    if (row["ratio"], row["biases"], row["when"]) == (ratio, *column)
                ]
            )
            for column in columns
        )
        table.add_row(f"{ratio:g}", *(_mean_and_deviation(x, 4) for x in found))
    return table


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _mean_and_deviation(values: np.ndarray, digits: int) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"


def write_run(
    out: Path, config: Config, rows: Sequence[Mapping[str, Any]]
) -> list[Path]:
    """Writes ``config.json``, ``metrics.csv`` and the figure; returns their paths.

    Raises:
        UserError: if the folder cannot be written.
    """
    if config.is_stream:
        return write_files(
            out,
            {
                "config.json": lambda path: path.write_text(config.to_json()),
                "metrics.csv": lambda path: write_rows(path, rows),
            },
        )
    return write_files(
        out,
        {
            "config.json": lambda path: path.write_text(config.to_json()),
            "metrics.csv": lambda path: write_rows(path, rows),
            "figure.png": lambda path: _draw(path, out),
        },
    )


def _draw(path: Path, out: Path) -> None:
    """The figure of the run in a folder: the paper's for its protocol."""
    cells = gather([read_run(out)]).cells
    draw = {
        "balancedness": plots.balancedness,
        "proportionality": plots.proportionality,
    }.get(cells[0].run.protocol, plots.learning_curves)
    figure = draw(cells)
    if figure is not None:
        run = cells[0].run
        figure.suptitle(
            f"{PROTOCOLS[run.protocol].title}: {run.dataset}, {run.model}", fontsize=11
        )
        figure.savefig(path, dpi=160)

"""What a run leaves behind: its folder, its table and its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from experiments.files import write_files
from experiments.methods.coefficients import Coefficient, in_words
from experiments.protocols.comparison import Comparison
from experiments.protocols.config import Config
from experiments.protocols.records import write_rows
from experiments.reporting import tables
from experiments.reporting.collection import collect
from experiments.reporting.drawing import plots
from experiments.reporting.naming import label, task, title


def summary_table(config: Config, frame: pd.DataFrame) -> Table:
    """The ranking of a run in stages: means ± standard deviations over seeds.

    Args:
        config: of the run.
        frame: rows of ``metrics.csv``.
    """
    coefficients = {method: config.coefficient(method) for method in config.methods}
    return _for_terminal(
        f"{config.protocol}, {config.dataset}, {config.model}: {_size(config)}",
        tables.brief(_with_coefficients(frame, coefficients)),
    )


def tasks_table(
    frame: pd.DataFrame, coefficients: Mapping[str, Coefficient | None]
) -> Table:
    """The ranking of a stream, or of agents, in 80 columns.

    Args:
        frame: rows of ``metrics.csv``.
        coefficients: of the methods that have one.
    """
    protocol, dataset, model = frame[["protocol", "dataset", "model"]].iloc[0]
    each = task(protocol)
    tasks, seeds = int(frame["task"].max()), frame["seed"].nunique()
    return _for_terminal(
        f"{title(protocol)}, {dataset}, {model}: {_count(tasks, each)},"
        f" {_count(seeds, 'seed')}; first and last fifth of {each}s, average ± half of"
        f" its 95 % interval, at a {each}'s end over the last fifth",
        tables.brief(_with_coefficients(frame, coefficients)),
    )


def proportionality_table(config: Config, frame: pd.DataFrame) -> Table:
    """Mean ± standard deviation over seeds for each ratio, biases and time.

    Args:
        config: of the run.
        frame: rows of ``metrics.csv``.
    """
    name = label(config.methods[0])
    return _for_terminal(
        "test accuracy after scaling once with biases rescaled or kept,"
        f" {config.dataset}, {config.model}, {name}: {_size(config)}",
        tables.proportionality(frame.assign(finished=True, name=name)),
    )


def write_run(
    out: Path, config: Comparison, rows: Sequence[Mapping[str, Any]]
) -> list[Path]:
    """Writes ``config.json``, ``metrics.csv`` and the figure; returns their paths.

    Raises:
        UserError: if the folder cannot be written.
    """
    return write_files(
        out,
        {
            "config.json": lambda path: path.write_text(config.to_json()),
            "metrics.csv": lambda path: write_rows(path, rows),
            "figure.png": _draw,
        },
    )


def _draw(path: Path) -> None:
    """The figure of the run beside it."""
    rows = collect([path.parent]).rows
    figure = plots.draw(rows)
    if figure is not None:
        protocol, dataset, model = rows[["protocol", "dataset", "model"]].iloc[0]
        heading = plots.plain(f"{title(protocol)}: {dataset}, {model}")
        figure.suptitle(heading, fontsize=11)
        figure.savefig(path, dpi=160)


def _with_coefficients(
    frame: pd.DataFrame, coefficients: Mapping[str, Coefficient | None]
) -> pd.DataFrame:
    words = {
        # Without the groups' names, for which a terminal has no room.
        method: " / ".join(f"{number:g}" for number in value.values())
        if isinstance(value, Mapping)
        else in_words(value)
        for method, value in coefficients.items()
    }
    return frame.assign(coefficient=[words.get(m, "") for m in frame["method"]])


def _for_terminal(heading: str, table: tables.Table) -> Table:
    # As narrow as it can be, or it would not fit 80 columns.
    found = Table(title=escape(heading), pad_edge=False, padding=(0, 1, 0, 0))
    for place, name in enumerate(table.header):
        if name in ("method", "λ"):
            found.add_column(name)
        else:  # Only a heading may be broken, and no number.
            width = max((len(row[place]) for row in table.rows), default=0)
            found.add_column(name, justify="right", min_width=width)
    for row in table.rows:
        found.add_row(*map(escape, row))
    return found


def _size(config: Config) -> str:
    each = " a stage" if config.protocol_stages > 1 else ""
    epochs, seeds = _count(config.epochs, "epoch"), _count(config.seeds, "seed")
    return f"{epochs}{each}, {seeds}, profile {config.profile}"


def _count(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"

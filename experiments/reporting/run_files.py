"""What a run leaves behind: its folder, its table and its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from experiments.files import write_files
from experiments.methods.coefficients import Coefficient, in_words
from experiments.protocols.comparison import Comparison
from experiments.protocols.config import Config
from experiments.protocols.records import write_rows
from experiments.reporting import tables
from experiments.reporting.collection import collect
from experiments.reporting.drawing import plots
from experiments.reporting.naming import counted, label, task, title


def summary_table(config: Config, frame: pd.DataFrame) -> ForTerminal:
    """The ranking of a run in stages: means ± standard deviations over seeds.

    Args:
        config: of the run.
        frame: rows of ``metrics.csv``.
    """
    coefficients = {method: config.coefficient(method) for method in config.methods}
    return ForTerminal(
        f"{config.protocol}, {config.dataset}, {config.model}: {_size(config)}",
        tables.brief(_with_coefficients(frame, coefficients)),
    )


def tasks_table(
    frame: pd.DataFrame, coefficients: Mapping[str, Coefficient | None]
) -> ForTerminal:
    """The ranking of a stream, or of agents, in 80 columns.

    Args:
        frame: rows of ``metrics.csv``.
        coefficients: of the methods that have one.
    """
    protocol, dataset, model = frame[["protocol", "dataset", "model"]].iloc[0]
    each = task(protocol)
    tasks, seeds = int(frame["task"].max()), frame["seed"].nunique()
    table = tables.brief(_with_coefficients(frame, coefficients))
    ended = f", at a {each}'s end over the last fifth" if "end" in table.header else ""
    return ForTerminal(
        f"{title(protocol)}, {dataset}, {model}: {counted(tasks, each)},"
        f" {counted(seeds, 'seed')}; first and last fifth of {each}s, average ± half of"
        f" its 95 % interval{ended}",
        table,
    )


def proportionality_table(config: Config, frame: pd.DataFrame) -> ForTerminal:
    """Mean ± standard deviation over seeds for each ratio, biases and time.

    Args:
        config: of the run.
        frame: rows of ``metrics.csv``.
    """
    name = label(config.methods[0])
    return ForTerminal(
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
            "config.json": lambda path: path.write_text(
                config.to_json(), encoding="utf-8"
            ),
            "metrics.csv": lambda path: write_rows(path, rows),
            "figure.png": _draw,
        },
    )


def _draw(path: Path) -> None:
    """The figure of the run beside it."""
    figure = plots.draw(collect([path.parent]).rows)
    if figure is not None:
        figure.savefig(path, dpi=plots.DPI)


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


MUCH = 1000
"""Columns that are enough for any table."""


@dataclasses.dataclass(frozen=True)
class ForTerminal:
    """A table where there is room for it, and else a line for each of its cells.

    Attributes:
        heading: what is above it.
        table: its text.
    """

    heading: str
    table: tables.Table

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """As Rich asks for it."""
        whole = self._whole()
        room = options.update(max_width=MUCH)
        if Measurement.get(console, room, whole).minimum <= options.max_width:
            yield whole
            return
        yield escape(self.heading)
        first, *others = self.table.header
        for name, *values in self.table.rows:
            yield escape(f"{first} {name}")
            for other, value in zip(others, values, strict=True):
                yield escape(f"  {other}: {value}")

    def _whole(self) -> Table:
        # As narrow as it can be, or it would not fit 80 columns.
        found = Table(title=escape(self.heading), pad_edge=False, padding=(0, 1, 0, 0))
        for place, name in enumerate(self.table.header):
            if name in ("method", "λ"):
                found.add_column(name)
            else:  # Only a heading may be broken, and no number.
                width = max((len(row[place]) for row in self.table.rows), default=0)
                found.add_column(name, justify="right", min_width=width)
        for row in self.table.rows:
            found.add_row(*map(escape, row))
        return found


def _size(config: Config) -> str:
    each = " a stage" if config.protocol_stages > 1 else ""
    epochs, seeds = counted(config.epochs, "epoch"), counted(config.seeds, "seed")
    return f"{epochs}{each}, {seeds}, profile {config.profile}"

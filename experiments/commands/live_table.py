"""A table that fills while a stream runs, or in a log a line for each method."""

from __future__ import annotations

from collections.abc import Sequence
import threading
from types import TracebackType

import numpy as np
from rich.box import HEAVY_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from experiments.methods import METHODS
from experiments.protocols.config import Config
from experiments.protocols.records import TaskRecord
from experiments.protocols.streams import STREAMS

CELLS = 10
"""Of a method's progress bar."""

WIDE = 80
"""Columns of a terminal that has room for bars."""


class LiveTable:
    """Shows how methods compare so far.

    Args:
        console: where.
        config: of the run.
    """

    def __init__(self, console: Console, config: Config) -> None:
        self._console = console
        self._config = config
        self._records: dict[str, list[TaskRecord]] = {m: [] for m in config.methods}
        self._lock = threading.Lock()
        self._live = Live(
            get_renderable=self._table,
            console=console,
            refresh_per_second=2,
            transient=True,
        )

    def __enter__(self) -> LiveTable:
        if self._console.is_terminal:  # Elsewhere it would be a flood.
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def add(self, records: Sequence[TaskRecord]) -> None:
        """Takes in what was measured of some tasks."""
        config = self._config
        with self._lock:  # Lanes come at once.
            for record in records:
                seen = self._records[record.method]
                seen.append(record)
                if len(seen) == config.seeds * config.stream_tasks and (
                    not self._console.is_terminal
                ):
                    label = METHODS[record.method].label
                    text = f"{label}: {_column(config)} {_mean(config, seen)}"
                    self._console.print(text, highlight=False)

    def _table(self) -> Table:
        config = self._config
        wide = self._console.width >= WIDE
        table = Table(
            title=f"{STREAMS[config.protocol].title}, {config.dataset}, {config.model}:"
            f" {config.stream_tasks} tasks, {config.seeds} seeds",
            box=HEAVY_HEAD if wide else None,
            padding=(0, 1) if wide else (0, 1, 0, 0),
        )
        table.add_column("method")
        table.add_column("done")
        table.add_column(
            f"{_column(config)}, first fifth" if wide else "first fifth",
            justify="right",
        )
        table.add_column("latest fifth", justify="right")
        fifth = max(1, config.stream_tasks // 5)
        with self._lock:
            records = {method: list(seen) for method, seen in self._records.items()}
        for method, seen in records.items():
            done = len(seen) / (config.seeds * config.stream_tasks)
            filled = int(CELLS * done)
            latest = max((record.task for record in seen), default=0)
            table.add_row(
                METHODS[method].label,
                "━" * filled + "╌" * (CELLS - filled) if wide else f"{done:.0%}",
                _mean(config, [r for r in seen if r.task <= fifth]),
                _mean(config, [r for r in seen if r.task > max(fifth, latest - fifth)]),
            )
        return table


def _column(config: Config) -> str:
    """What methods are compared by."""
    stream = STREAMS[config.protocol]
    return "loss" if stream.regression else stream.metric.replace("_", " ")


def _mean(config: Config, records: Sequence[TaskRecord]) -> str:
    values = [STREAMS[config.protocol].score(r) for r in records if r.scored]
    return f"{np.mean(values):.3f}" if values else ""

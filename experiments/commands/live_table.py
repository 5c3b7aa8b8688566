"""A table that fills while a stream runs, or in a log a line now and then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import threading
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from rich.box import HEAVY_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from experiments.agents.records import LevelRecord
from experiments.commands.progress import WIDE, Log
from experiments.methods import METHODS
from experiments.protocols.records import TaskRecord
from experiments.reporting.naming import counted

CELLS = 10
"""Of a method's progress bar."""


class Shown(NamedTuple):
    """What a live table says of a run.

    Attributes:
        heading: above it.
        methods: a line for each.
        seeds: of each method.
        tasks: of each seed.
        unit: what a task is called.
        column: what is compared, in words.
        score: of a task's record; None for one that does not count.
        form: of a score's digits.
    """

    heading: str
    methods: Sequence[str]
    seeds: int
    tasks: int
    column: str
    score: Callable[[Any], float | None]
    unit: str = "task"
    form: str = ".3f"


class LiveTable:
    """Shows how methods compare so far.

    Args:
        console: where.
        shown: what.
    """

    def __init__(self, console: Console, shown: Shown) -> None:
        self._console = console
        self._shown = shown
        self._records: dict[str, list[Any]] = {m: [] for m in shown.methods}
        self._lock = threading.Lock()
        total = len(shown.methods) * shown.seeds * shown.tasks
        self._log = Log(console, total, f"{shown.unit}s")
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

    def add(self, records: Sequence[TaskRecord] | Sequence[LevelRecord]) -> None:
        """Takes in what was measured of some tasks."""
        shown = self._shown
        with self._lock:  # Lanes come at once.
            for record in records:
                seen = self._records[record.method]
                seen.append(record)
                if len(seen) == shown.seeds * shown.tasks:
                    label = METHODS[record.method].label
                    self._log.say(f"{label}: {shown.column} {self._mean(seen)}")
            self._log.advance(len(records))

    def _table(self) -> Table:
        shown = self._shown
        wide = self._console.width >= WIDE
        table = Table(
            title=f"{shown.heading}: {counted(shown.tasks, shown.unit)},"
            f" {counted(shown.seeds, 'seed')}",
            box=HEAVY_HEAD if wide else None,
            padding=(0, 1) if wide else (0, 1, 0, 0),
        )
        table.add_column("method")
        table.add_column("done")
        table.add_column(
            f"{shown.column}, first fifth" if wide else "first fifth",
            justify="right",
        )
        table.add_column("latest fifth", justify="right")
        fifth = max(1, shown.tasks // 5)
        with self._lock:
            records = {method: list(seen) for method, seen in self._records.items()}
        for method, seen in records.items():
            done = len(seen) / (shown.seeds * shown.tasks)
            filled = int(CELLS * done)
            latest = max((record.task for record in seen), default=0)
            table.add_row(
                METHODS[method].label,
                "━" * filled + "╌" * (CELLS - filled) if wide else f"{done:.0%}",
                self._mean([r for r in seen if r.task <= fifth]),
                self._mean([r for r in seen if r.task > max(fifth, latest - fifth)]),
            )
        return table

    def _mean(self, records: Sequence[Any]) -> str:
        values = [value for r in records if (value := self._shown.score(r)) is not None]
        return format(np.mean(values), self._shown.form) if values else ""

"""A bar with the time left, or in a log a line for each method."""

from __future__ import annotations

import threading
from types import TracebackType

from rich import progress as rich_progress
from rich.console import Console

from experiments.methods import METHODS

WIDE = 80
"""Columns of a terminal that has room for all."""


class Progress:
    """Shows how far a run has come.

    Args:
        console: where.
        total: of the whole run, each seed's counted.
        unit: what is counted.
    """

    def __init__(self, console: Console, total: int, unit: str = "epochs") -> None:
        self._console = console
        columns: list[rich_progress.ProgressColumn] = [
            rich_progress.TextColumn("{task.description:<18}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn(unit),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TextColumn("left"),
            rich_progress.TimeRemainingColumn(),
        ]
        if console.width < WIDE:  # Then only what is asked first.
            columns = [
                rich_progress.TextColumn("{task.description}"),
                rich_progress.TaskProgressColumn(),
                rich_progress.TextColumn("left"),
                rich_progress.TimeRemainingColumn(),
            ]
        self._bar = rich_progress.Progress(
            *columns,
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=total)
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, method: str, done: int) -> None:
        """Notes that so many more of a method are done."""
        label = METHODS[method].label
        with self._lock:  # Lanes of a method come at once.
            if method not in self._seen:
                self._seen.add(method)
                if not self._console.is_terminal:  # There a bar would be a flood.
                    self._console.print(f"{label} …", highlight=False)
        self._bar.update(self._task, advance=done, description=label)

"""A bar with the time left, or in a log a line now and then."""

from __future__ import annotations

from collections.abc import Callable
import threading
import time
from types import TracebackType

from rich import progress as rich_progress
from rich.console import Console

from experiments.methods import METHODS

WIDE = 80
"""Columns of a terminal that has room for all."""

EVERY = 300.0
"""Seconds between two lines of a log that say how far a run has come."""

FROM_CHECKPOINT = 10.0
"""Seconds in which all that a run that goes on has done before is counted at once."""


class Log:
    """Says in lines how far a run has come, where a bar would be a flood.

    Args:
        console: where; nothing is said in a terminal.
        total: of the whole run.
        unit: what is counted.
        now: a clock, in seconds.
    """

    def __init__(
        self,
        console: Console,
        total: int,
        unit: str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._total = total
        self._unit = unit
        self._now = now
        self._done = self._done_before = 0
        self._before = now()
        self._first: float | None = None

    def say(self, text: str) -> None:
        """A line of its own."""
        if not self._console.is_terminal:
            self._console.print(text, highlight=False)

    def advance(self, done: int) -> None:
        """Notes that so many more are done; at most one caller at a time."""
        self._done += done
        now = self._now()
        if self._first is None:
            self._first = now
        if now - self._first <= FROM_CHECKPOINT:  # This says nothing of the rate.
            self._before, self._done_before = now, self._done
            return
        # The rate is the latest: later stages may take longer.
        passed, came = now - self._before, self._done - self._done_before
        if passed < EVERY or not came or self._done >= self._total:
            return
        left = (self._total - self._done) / came * passed
        self.say(
            f"{self._done} of {self._total} {self._unit}, about {_in_words(left)} left"
        )
        self._before, self._done_before = now, self._done


def _in_words(seconds: float) -> str:
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class Progress:
    """Shows how far a run has come.

    Args:
        console: where.
        total: of the whole run, each seed's counted.
        unit: what is counted.
    """

    def __init__(self, console: Console, total: int, unit: str = "epochs") -> None:
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
        self._log = Log(console, total, unit)
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
                self._log.say(f"{label} …")
            self._log.advance(done)
        self._bar.update(self._task, advance=done, description=label)

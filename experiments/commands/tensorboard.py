"""TensorBoard event files of a run, one folder for each method and seed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
import threading
from types import TracebackType
from typing import Any

from experiments.agents.records import LevelRecord
from experiments.errors import UserError
from experiments.protocols.records import Record, TaskRecord

_LABELS = (
    "protocol",
    "dataset",
    "model",
    "method",
    "seed",
    "stage",
    "epoch",
    "step",
    "task",
    "game",
)


def event_writer() -> Any:
    """The class that writes an event file.

    Raises:
        UserError: if the package that has it is missing.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UserError(
            "--tensorboard needs tensorboardX: pip install tensorboardX"
        ) from None
    return SummaryWriter


def event_files(out: Path, wanted: bool) -> AbstractContextManager[EventFiles | None]:
    """Event files of the run in a folder, or None where they are not wanted.

    Raises:
        UserError: if the package that writes them is missing.
    """
    return EventFiles(out / "tensorboard") if wanted else nullcontext()


class EventFiles:
    """Writes a run's records as they come, in place of those of an earlier run.

    A run that goes on where it was stopped hands over again what it had measured,
    so that every number is there once.

    Args:
        folder: of all event files.

    Raises:
        UserError: if the package that writes them is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._make = event_writer()
        self._writers: dict[tuple[str, int], Any] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> EventFiles:
        for earlier in self._folder.glob("*/seed-*/events.out.tfevents.*"):
            earlier.unlink()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for writer in self._writers.values():
            writer.close()

    def add(
        self, records: Sequence[Record] | Sequence[TaskRecord] | Sequence[LevelRecord]
    ) -> None:
        """Adds every number of some records, at their steps."""
        with self._lock:
            for record in records:
                key = record.method, record.seed
                if key not in self._writers:
                    folder = self._folder / record.method / f"seed-{record.seed}"
                    self._writers[key] = self._make(str(folder))
                for name, value in record.row().items():
                    if name not in _LABELS and value is not None:
                        self._writers[key].add_scalar(name, value, record.step)

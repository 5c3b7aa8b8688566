"""TensorBoard event files of a run, one folder for each method and seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import threading
from typing import Any

from experiments.errors import UserError
from experiments.records import Record

_LABELS = ("protocol", "dataset", "model", "method", "seed", "stage", "epoch", "step")


class EventFiles:
    """Writes records as they come.

    Args:
        folder: of all event files.

    Raises:
        UserError: if the package that writes them is missing.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import tensorboardX
        except ImportError:
            raise UserError(
                "--tensorboard needs tensorboardX: pip install tensorboardX"
            ) from None
        self._folder = folder
        self._make = tensorboardX.SummaryWriter
        self._writers: dict[tuple[str, int], Any] = {}
        self._lock = threading.Lock()

    def add(self, records: Sequence[Record]) -> None:
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

    def close(self) -> None:
        """Writes what is left and closes the files."""
        for writer in self._writers.values():
            writer.close()

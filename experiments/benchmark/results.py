"""What a benchmark leaves behind: tables for the terminal, and its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from importlib import metadata
from pathlib import Path
import platform

import jax
import pandas as pd
from rich.table import Table

from experiments.benchmark.figure import draw
from experiments.benchmark.in_turn import Row
from experiments.files import write_files

Columns = Mapping[str, Callable[[Row], str]]

_TIMES: Columns = {
    "ms": lambda row: f"{row.seconds * 1e3:.3g}",
    "of Adam's": lambda row: f"{row.ratio:.3f}",
    "quartiles": lambda row: f"{row.ratio_low:.3f} to {row.ratio_high:.3f}",
}

_COMPILATIONS: Columns = {
    "compilation, s": lambda row: f"{row.compile_seconds:.2f}",
    "of Adam's": lambda row: f"{row.compile_ratio:.2f}",
    "memory, of Adam's": lambda row: f"{row.memory_ratio:.3f}",
}


def tables(rows: Sequence[Row]) -> list[Table]:
    """Of the optimiser's step, of its compilation, of training steps, of runs."""
    optimizer = [row for row in rows if row.piece == "optimizer"]
    compiled = [row for row in optimizer if row.compile_seconds is not None]
    training = [row for row in rows if row.piece == "training"]
    loops = [row for row in rows if row.piece == "loop"]
    found = [
        _table("the optimiser's step alone", optimizer, _TIMES),
        _table("compilation and memory of that step", compiled, _COMPILATIONS),
        _table("training steps", training, _TIMES),
        _table("whole runs", loops, _TIMES),
    ]
    return [table for table in found if table.row_count]


def write_benchmark(out: Path, rows: Sequence[Row]) -> list[Path]:
    """Writes ``benchmark.csv`` and, of the optimiser's step, ``benchmark.png``.

    Raises:
        UserError: if the folder cannot be written.
    """
    frame = pd.DataFrame([dataclasses.asdict(row) for row in rows])
    frame["device"] = jax.devices()[0].device_kind
    frame["python"] = platform.python_version()
    for name in ("swr-optax", "jax", "jaxlib", "optax", *_torch(rows)):
        frame[name] = metadata.version(name)
    files: dict[str, Callable[[Path], object]] = {
        "benchmark.csv": lambda path: frame.to_csv(
            path, index=False, float_format="%.6g"
        ),
    }
    optimizer = frame[frame["piece"] == "optimizer"]
    if len(optimizer):
        files["benchmark.png"] = lambda path: draw(optimizer).savefig(path, dpi=160)
    return write_files(out, files)


def _torch(rows: Sequence[Row]) -> list[str]:
    return ["torch"] if any(row.way.startswith("PyTorch") for row in rows) else []


def _table(title: str, rows: Sequence[Row], columns: Columns) -> Table:
    """The ways of each case, below its name."""
    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("way")
    for name in columns:
        table.add_column(name, justify="right")
    case = None
    for row in rows:
        if row.case != case:
            case = row.case
            table.add_section()
            table.add_row(case, style="bold")
        table.add_row(f"  {row.way}", *(text(row) for text in columns.values()))
    return table

"""A report's tables, as text that any format can set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from experiments.protocols.stages import PROTOCOLS
from experiments.reporting.cells import Cell, Gathered, Setting, by_setting, label
from experiments.reporting.published import PUBLISHED, Published, published_as
from experiments.reporting.statistics import bootstrap_interval

EMPTY = "–"
"""Not measured, or not to be had."""

RETENTION = {"at": "right at the change", "after": "after one epoch"}
"""When accuracy is compared with the last before a change of data."""


class Table(NamedTuple):
    """A table with a heading over each group of rows.

    Attributes:
        caption: what it shows.
        header: of its columns, the first of which names the row.
        groups: each a heading and its rows.
    """

    caption: str
    header: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]


def of_protocol(protocol: str, cells: Sequence[Cell]) -> list[Table]:
    """The tables of a protocol that have any rows."""
    if protocol == "proportionality":
        found = [proportionality(cells)]
    else:
        found = [results(protocol, cells), retention(protocol, cells)]
    return [table for table in found if table.groups]


def results(protocol: str, cells: Sequence[Cell]) -> Table:
    """Final values of a protocol's cells, beside the paper's."""
    columns: dict[str, Callable[[Cell], str]] = {
        "method": lambda cell: label(cell.method),
        "λ": lambda cell: cell.coefficient or EMPTY,
        "test accuracy": lambda cell: _with_deviation(cell.final("test_accuracy"), 4),
        "95 % interval": lambda cell: _interval(cell.final("test_accuracy")),
        "paper": _published,
        "difference": _difference,
        "stream average": lambda cell: _mean(cell.final("stream_accuracy"), ".4f"),
        "balancedness": lambda cell: _mean(cell.final("balancedness"), ".4f"),
        "weight growth": lambda cell: _with_deviation(cell.final("weight_growth"), 2),
        "dead units": lambda cell: _mean(cell.final("dead_units"), ".3g"),
        "effective rank": lambda cell: _mean(cell.final("effective_rank"), ".3g"),
        **_SIZE,
    }
    return _table(
        f"{PROTOCOLS[protocol].title}: at the end of training", columns, cells, keep=3
    )


def retention(protocol: str, cells: Sequence[Cell]) -> Table:
    """What a change of data does to test accuracy, mean over changes and seeds."""

    def change(cell: Cell, name: str) -> str:
        found = cell.retention()
        return _mean(100 * (found[name] - found["before"]), "+.2f")

    columns: dict[str, Callable[[Cell], str]] = {
        "method": lambda cell: label(cell.method),
        "λ": lambda cell: cell.coefficient or EMPTY,
        "last accuracy before": lambda cell: _mean(cell.retention()["before"], ".4f"),
        RETENTION["at"]: lambda cell: change(cell, "at"),
        RETENTION["after"]: lambda cell: change(cell, "after"),
        **_SIZE,
    }
    changing = [c for c in cells if np.isfinite(c.retention()["before"]).any()]
    return _table(
        f"{PROTOCOLS[protocol].title}: test accuracy around changes of data; the"
        " differences are in percentage points from the last accuracy before",
        columns,
        changing,
        keep=1,
    )


def proportionality(cells: Sequence[Cell]) -> Table:
    """Test accuracy of rescaled networks, for each ratio and rule for biases."""
    whens = list(dict.fromkeys(when for c in cells for when in c.rescaled().whens))
    header = (
        "ratio",
        *(f"{when}, biases {b}" for when in whens for b in ("rescaled", "kept")),
        *_SIZE,
    )
    groups = []
    for cell in cells:
        found = cell.rescaled()
        rows = []
        for ratio in found.ratios:
            values = [
                _with_deviation(found.accuracy(ratio, biases, when), 4)
                for when in whens
                for biases in ("rescaled", "kept")
            ]
            sizes = [size(cell) for size in _SIZE.values()]
            rows.append((f"{ratio:g}", *values, *sizes))
        if rows:
            groups.append((f"{_network(cell.setting)}, {_named(cell)}", tuple(rows)))
    return Table("Proportionality: test accuracy", header, tuple(groups))


def runs(gathered: Gathered) -> Table:
    """What was run, where and on what."""
    rows = []
    for run in gathered.runs:
        device = run.config.get("device")
        kind = device.get("kind") if isinstance(device, dict) else None
        rows.append(
            (
                run.name,
                PROTOCOLS[run.protocol].title,
                f"{run.dataset}, {run.model}",
                str(len(run.methods)),
                str(run.seeds),
                str(run.epochs),
                run.profile,
                run.train_images,
                EMPTY if kind is None else str(kind),
                run.written_at,
            )
        )
    header = (
        "folder",
        "protocol",
        "data set, network",
        "methods",
        "seeds",
        "epochs of a stage",
        "profile",
        "training images",
        "device",
        "written",
    )
    return Table("Runs in this report", header, (("", tuple(rows)),))


def _table(
    caption: str,
    columns: dict[str, Callable[[Cell], str]],
    cells: Sequence[Cell],
    keep: int,
) -> Table:
    """One row for each cell, without columns that nobody filled."""
    groups: dict[str, list[list[str]]] = {}
    for setting, members in by_setting(cells).items():
        network = groups.setdefault(_network(setting), [])
        network += [[text(cell) for text in columns.values()] for cell in members]
    rows = [row for group in groups.values() for row in group]
    shown = [
        i
        for i in range(len(columns))
        if i < keep or any(row[i] != EMPTY for row in rows)
    ]
    names = tuple(columns)
    return Table(
        caption,
        tuple(names[i] for i in shown),
        tuple(
            (network, tuple(tuple(row[i] for i in shown) for row in group))
            for network, group in groups.items()
        ),
    )


def _seeds(cell: Cell) -> str:
    done, wanted = len(cell.finished), cell.run.seeds
    return str(done) if done == wanted else f"{done} of {wanted}"


# Every number of a report has its size beside it.
_SIZE: dict[str, Callable[[Cell], str]] = {
    "seeds": _seeds,
    "epochs of a stage": lambda cell: str(cell.run.epochs),
    "profile": lambda cell: cell.run.profile,
    "training images": lambda cell: cell.run.train_images,
}


def _network(setting: Setting) -> str:
    return f"{setting.dataset}, {setting.model}"


def _named(cell: Cell) -> str:
    name = label(cell.method)
    return f"{name} (λ {cell.coefficient})" if cell.coefficient else name


def _mean(values: np.ndarray, form: str) -> str:
    values = values[np.isfinite(values)]
    return _signed(format(values.mean(), form)) if len(values) else EMPTY


def _with_deviation(values: np.ndarray, digits: int) -> str:
    if len(values) < 2:
        return _mean(values, f".{digits}f")
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"


def _interval(values: np.ndarray) -> str:
    interval = bootstrap_interval(values)
    return EMPTY if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def _published(cell: Cell) -> str:
    found = _in_paper(cell)
    return EMPTY if found is None else f"{found.mean:.4f} ± {found.deviation:.4f}"


def _difference(cell: Cell) -> str:
    found, ours = _in_paper(cell), cell.final("test_accuracy")
    if found is None or not len(ours):
        return EMPTY
    return _signed(f"{ours.mean() - found.mean:+.4f}")


def _in_paper(cell: Cell) -> Published | None:
    run = cell.run
    method = published_as(run.model, cell.method)
    return PUBLISHED.get((run.protocol, run.dataset, run.model, method))


def _signed(number: str) -> str:
    return number.replace("-", "−")

"""Finds a method's coefficient on held-out training images; only then it is tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.commands.progress import Progress
from experiments.commands.run import prepare, run as run_config
from experiments.commands.tensorboard import event_writer
from experiments.data import Dataset
from experiments.errors import UserError, check_name
from experiments.files import check_writable, write_files
from experiments.methods.coefficients import Coefficient, in_words
from experiments.protocols.config import Config
from experiments.protocols.loop import Tick, epochs_of, run_members
from experiments.protocols.records import Record, write_rows
from experiments.protocols.stages import PROTOCOLS
from experiments.training.checkpoint import Checkpoints
from experiments.training.training import Member

HELD_OUT = 0.1
"""Fraction of the training images that coefficients are compared on."""

_POWERS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)

GRIDS: dict[str, tuple[Coefficient, ...]] = {
    "l2": (1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    "l2_init": (1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    "shrink_and_perturb": (0.2, 0.4, 0.6, 0.8),
    **dict.fromkeys(("swr", "swr_reinit", "swr_follow"), _POWERS),
    "swr_two": tuple(
        {"feature": feature, "classifier": classifier}
        for feature, classifier in itertools.product(_POWERS, _POWERS)
    ),
}
"""The paper's grids."""


def paper_grid(method: str) -> tuple[Coefficient, ...]:
    """The coefficients among which the paper chose.

    Raises:
        UserError: if the method has no coefficient.
    """
    if method not in GRIDS:
        raise UserError(
            f"method {method!r} has no coefficient to find: choose from"
            f" {', '.join(GRIDS)}"
        )
    return GRIDS[method]


def run(
    config: Config,
    grid: Sequence[Coefficient],
    out: Path,
    data_dir: str | None,
    tensorboard: bool,
) -> None:
    """Compares coefficients, then runs the best one on the test images.

    Writes ``sweep.csv`` into the folder, with all evaluations on the held-out
    images, and the best coefficient's run into ``best`` below it.

    Raises:
        UserError: if there is nothing to find, the data cannot be had or the folder
            not be written.
    """
    (method,) = config.methods
    _check(config, grid)
    if tensorboard:
        event_writer()  # To fail before the sweep rather than after it.
    check_writable(out)
    dataset = prepare(config, data_dir).held_out(HELD_OUT)
    left, stages = len(dataset.train_labels), config.protocol_stages
    if left < stages:
        raise UserError(
            f"of train_images only {left} are not held out, fewer than the {stages}"
            f" stages of {config.protocol}"
        )
    identity = f"{config.to_json()} {list(grid)}"
    checkpoints = Checkpoints(out / "checkpoint", identity)
    with Progress(Console(stderr=True), epochs_of(config) * len(grid)) as progress:

        def tick(method: str, records: Sequence[Record]) -> None:
            progress.advance(method, sum(1 for record in records if record.epoch))

        histories = run_grid(config, dataset, grid, tick, checkpoints)
    finals = np.array(
        [[history[-1].test_accuracy for history in of_one] for of_one in histories]
    )
    best = int(np.argmax(finals.mean(axis=1)))
    rows = [
        _row(record, coefficient)
        for coefficient, of_one in zip(grid, histories, strict=True)
        for history in of_one
        for record in history
    ]
    write_files(out, {"sweep.csv": lambda path: write_rows(path, rows)})
    Console().print(_table(config, grid, finals, best))
    chosen = dataclasses.replace(config, coefficients={method: grid[best]})
    run_config(chosen, out / "best", data_dir, tensorboard)
    checkpoints.remove()  # Not before, or the best run stopped would mean all again.


def _check(config: Config, grid: Sequence[Coefficient]) -> None:
    """Refuses what cannot be swept.

    Raises:
        UserError: naming it.
    """
    (method,) = config.methods
    paper_grid(method)
    swept = [name for name in PROTOCOLS if name != "proportionality"]
    check_name(config.protocol, swept, "protocol to sweep")
    for coefficient in grid:
        dataclasses.replace(config, coefficients={method: coefficient})
    names = [in_words(coefficient) for coefficient in grid]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--grid has {name} twice")
    if len({isinstance(coefficient, Mapping) for coefficient in grid}) > 1:
        raise UserError("--grid must have one number everywhere, or two everywhere")


def run_grid(
    config: Config,
    dataset: Dataset,
    grid: Sequence[Coefficient],
    tick: Tick,
    checkpoints: Checkpoints,
) -> list[list[list[Record]]]:
    """Records for each coefficient and seed; one compilation serves all."""
    (method,) = config.methods
    members = [Member(seed, value) for value in grid for seed in range(config.seeds)]
    histories = run_members(config, dataset, method, members, tick, checkpoints)
    return [
        histories[i : i + config.seeds] for i in range(0, len(histories), config.seeds)
    ]


def _row(record: Record, coefficient: Coefficient) -> dict[str, Any]:
    """A record whose accuracy is that on held-out images, with its coefficient."""
    columns: Mapping[str, float] = (
        {f"coefficient/{group}": value for group, value in coefficient.items()}
        if isinstance(coefficient, Mapping)
        else {"coefficient": float(coefficient)}
    )
    row = record.row()
    renamed = {
        name.replace("test_accuracy", "validation_accuracy"): value
        for name, value in row.items()
    }
    return {**columns, **renamed}


def _table(
    config: Config, grid: Sequence[Coefficient], finals: np.ndarray, best: int
) -> Table:
    table = Table(
        title=f"{config.methods[0]}, {config.protocol}, {config.dataset},"
        f" {config.model}: accuracy on held-out training images"
    )
    table.add_column("λ", justify="right")
    table.add_column("mean over seeds", justify="right")
    table.add_column("")
    for i, coefficient in enumerate(grid):
        table.add_row(
            in_words(coefficient),
            f"{finals[i].mean():.4f}",
            "best" if i == best else "",
        )
    return table

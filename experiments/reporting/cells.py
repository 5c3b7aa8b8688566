"""What runs have to say of each method on each network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from experiments.methods import METHODS
from experiments.protocols.stages import PROTOCOLS
from experiments.reporting.runs import Run


class Setting(NamedTuple):
    """What two numbers must share to stand in one figure.

    Attributes:
        protocol: the experiment.
        dataset: its data.
        model: its network.
        profile: ``quick``, ``paper`` or ``custom``.
        epochs: of a stage.
        train_images: size of the training subset, or ``all``.
    """

    protocol: str
    dataset: str
    model: str
    profile: str
    epochs: int
    train_images: str


class Rescaled(NamedTuple):
    """Test accuracy of networks that were scaled once.

    Attributes:
        ratios: by which they were scaled, ascending.
        whens: when they were measured.
        values: for each ratio, rule for biases and time, one for each seed.
    """

    ratios: list[float]
    whens: list[str]
    values: dict[tuple[float, str, str], list[float]]

    def accuracy(self, ratio: float, biases: str, when: str) -> np.ndarray:
        """Test accuracy, (seeds,)."""
        return np.array(self.values.get((ratio, biases, when), []))


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One method of one run.

    Attributes:
        run: the run.
        method: the method's name.
    """

    run: Run
    method: str

    @property
    def setting(self) -> Setting:
        """Experiment, data, network and their size."""
        run = self.run
        return Setting(
            run.protocol,
            run.dataset,
            run.model,
            run.profile,
            run.epochs,
            run.train_images,
        )

    @property
    def coefficient(self) -> str:
        """The method's coefficient in words, empty if it has none."""
        return self.run.coefficient(self.method)

    @functools.cached_property
    def histories(self) -> dict[int, dict[str, np.ndarray]]:
        """By seed: the columns of ``metrics.csv``, in the order of training."""
        of_method = self.run.columns["method"] == self.method
        seeds = np.unique(self.run.columns["seed"][of_method]).astype(int).tolist()
        return {seed: self.run.history(self.method, seed) for seed in seeds}

    @functools.cached_property
    def finished(self) -> tuple[int, ...]:
        """The seeds that have all their evaluations."""
        return tuple(
            seed
            for seed, history in self.histories.items()
            if self.evaluations(history) >= self.expected(history)
        )

    def evaluations(self, history: dict[str, np.ndarray]) -> int:
        """How many a seed has, without those right at a change of data."""
        if self.run.protocol == "proportionality":
            return len(history["ratio"])
        return int((history["epoch"] >= 1).sum())

    def expected(self, history: dict[str, np.ndarray]) -> int:
        """How many it should have."""
        if self.run.protocol == "proportionality":
            return len(set(_measurements(self.run.columns)))
        # Training from scratch knows the last stage of a warm start alone.
        first = int(history["stage"].min())
        return self.run.epochs * (self.run.stages - first + 1)

    def final(self, column: str) -> np.ndarray:
        """A column's last value of each finished seed; empty if not measured."""
        if column not in self.run.columns:
            return np.empty(0)
        last = [self.histories[seed][column][-1] for seed in self.finished]
        values = np.array(last, dtype=np.float64)
        return values if np.isfinite(values).all() else np.empty(0)

    def curve(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """A column over the whole of training.

        Returns:
            Epochs since the run's start, (evaluations,), of which two at a change
            of data may be equal, before and after it; and the values, (seeds,
            evaluations), of the finished seeds. As long as none is finished,
            those of all seeds as far as they all have come.
        """
        if column not in self.run.columns or not self.histories:
            return np.empty(0), np.empty((0, 0))
        shown = [self.histories[s] for s in self.finished or self.histories]
        places = functools.reduce(np.intersect1d, map(_places, shown))
        values = [h[column][np.isin(_places(h), places)] for h in shown]
        epochs = (places.real - 1) * self.run.epochs + places.imag
        return epochs, np.stack(values)

    def retention(self) -> dict[str, np.ndarray]:
        """Test accuracy around each change of data.

        Returns:
            ``before``: the last of the stage before; ``at``: right at the change,
            after what the method does there; ``after``: after the first epoch on
            the new data. Each (finished seeds, changes), NaN if not measured.
        """
        shape = (len(self.finished), self.run.stages - 1)
        found = {name: np.full(shape, np.nan) for name in ("before", "at", "after")}
        for row, seed in enumerate(self.finished):
            history = self.histories[seed]
            accuracy = dict(
                zip(_places(history).tolist(), history["test_accuracy"], strict=True)
            )
            for change in range(shape[1]):
                stage = change + 2
                for name, place in (
                    ("before", complex(stage - 1, self.run.epochs)),
                    ("at", complex(stage, 0)),
                    ("after", complex(stage, 1)),
                ):
                    found[name][row, change] = accuracy.get(place, np.nan)
        return found

    def rescaled(self) -> Rescaled:
        """What a proportionality run measured of its finished seeds."""
        values: dict[tuple[float, str, str], list[float]] = {}
        for seed in self.finished:
            rows = self.histories[seed]
            for place, accuracy in zip(
                _measurements(rows), rows["test_accuracy"].tolist(), strict=True
            ):
                values.setdefault(place, []).append(accuracy)
        return Rescaled(
            sorted({ratio for ratio, _, _ in values}),
            sorted({when for _, _, when in values}),
            values,
        )


class Gathered(NamedTuple):
    """All that a report speaks of.

    Attributes:
        runs: in the order given.
        cells: one for each setting, method and coefficient.
        replaced: cells that are not shown, each with the newer one that is.
    """

    runs: list[Run]
    cells: list[Cell]
    replaced: list[tuple[Cell, Cell]]


def gather(runs: Sequence[Run]) -> Gathered:
    """Picks the newest of what was run twice, and puts cells in order."""
    newest: dict[tuple[Setting, str, str], Cell] = {}
    pairs: list[tuple[Cell, tuple[Setting, str, str]]] = []
    for run in sorted(runs, key=lambda run: run.written):
        for method in _methods(run):
            cell = Cell(run, method)
            key = (cell.setting, method, cell.coefficient)
            if key in newest:
                pairs.append((newest[key], key))
            newest[key] = cell
    cells = sorted(newest.values(), key=_place)
    return Gathered(list(runs), cells, [(cell, newest[key]) for cell, key in pairs])


def by_protocol(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """Cells of each protocol, in the order given."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.run.protocol, []).append(cell)
    return groups


def by_setting(cells: Iterable[Cell]) -> dict[Setting, list[Cell]]:
    """Cells that may stand in one figure, in the order given."""
    groups: dict[Setting, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.setting, []).append(cell)
    return groups


def label(method: str) -> str:
    """A method's name in tables and figures: its own if it is unknown."""
    if method not in METHODS:
        return method
    return METHODS[method].label


def _methods(run: Run) -> list[str]:
    """Those it was to have, then any others that it has."""
    return list(dict.fromkeys([*run.methods, *run.columns["method"].tolist()]))


def _place(cell: Cell) -> tuple[object, ...]:
    known = list(METHODS)
    method = known.index(cell.method) if cell.method in known else len(known)
    protocol, *rest = cell.setting
    return (
        list(PROTOCOLS).index(protocol),
        *rest,
        method,
        cell.method,
        cell.coefficient,
    )


def _measurements(columns: Mapping[str, np.ndarray]) -> list[tuple[float, str, str]]:
    """Ratio, rule for biases and time of each row of a proportionality run."""
    names = ("ratio", "biases", "when")
    return list(zip(*(columns[name].tolist() for name in names), strict=True))


def _places(history: dict[str, np.ndarray]) -> np.ndarray:
    """Stage and epoch as one complex number, which sorts by the one, then the other."""
    return history["stage"] + 1j * history["epoch"]

"""What is measured at each evaluation, and the table that holds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import csv
import dataclasses
from pathlib import Path
from typing import Any

from swr_optax import RescalingPlan

OBSERVED = 500
"""Images, or observations, on which hidden units are looked at, at most."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One evaluation of one seed: a row of ``metrics.csv``.

    Attributes:
        protocol: the experiment.
        dataset: its data.
        model: its network.
        method: its method.
        seed: from 0.
        stage: from 1; a stage is a span between changes of data.
        epoch: of the stage, from 1; 0 right at a change of data, after what the
            method does there and before any training.
        step: optimiser steps so far.
        train_loss: mean cross-entropy over the epoch, in nats; None for epoch 0.
        test_accuracy: fraction of test images classified correctly.
        stream_accuracy: mean of the same over all epochs so far.
        weight_growth: mean over layers of the weight's norm over its initial one.
        dead_units: fraction of ReLU units that are zero for all of some test
            images; None for a network without.
        effective_rank: of what the last layer classifies, on the same images.
        seconds: since the seed's first step.
        growth: of each layer's weight, by the layer's path.
        balancedness: of a chain of dense layers; None if not measured.
    """

    protocol: str
    dataset: str
    model: str
    method: str
    seed: int
    stage: int
    epoch: int
    step: int
    train_loss: float | None
    test_accuracy: float
    stream_accuracy: float | None
    weight_growth: float
    dead_units: float | None
    effective_rank: float | None
    seconds: float
    growth: Mapping[str, float] = dataclasses.field(default_factory=dict)
    balancedness: float | None = None

    def row(self) -> dict[str, Any]:
        """The record as a row, by column."""
        found = dataclasses.asdict(self)
        layers = {f"growth/{path}": x for path, x in found.pop("growth").items()}
        balancedness = found.pop("balancedness")
        if balancedness is not None:
            layers["balancedness"] = balancedness
        return found | layers


@dataclasses.dataclass(frozen=True)
class TaskRecord:
    """One task of one seed: a row of a stream's ``metrics.csv``.

    Attributes:
        protocol: the stream.
        dataset: its data.
        model: its network.
        method: its method.
        seed: from 0.
        task: from 1.
        step: optimiser steps so far.
        scored: 1 if the task counts for the method's score, else 0.
        online_accuracy: fraction of examples classified correctly before they are
            learnt, over all batches of the task; None in a regression.
        end_accuracy: of the task's examples after its last step; None in a
            regression, and if earlier tasks' examples are learnt as well.
        test_accuracy: of held-out examples after the last step; None without any.
        train_loss: mean loss before each update, cross-entropy in nats or squared
            error.
        gradient_norm: mean over steps, of the loss and what the method adds to it, but
            not of what it adds to gradients in the optimiser, as L2 Init does.
        weight_growth: mean over layers of the weight's norm over its initial one.
        dead_units: fraction of ReLU units that are zero for all of some of the task's
            examples; None for a network without.
        effective_rank: of what the last layer is given, on the same examples.
        seconds: since the seed's first step.
        growth: of each layer's weight, by the layer's path.
    """

    protocol: str
    dataset: str
    model: str
    method: str
    seed: int
    task: int
    step: int
    scored: int
    online_accuracy: float | None
    end_accuracy: float | None
    test_accuracy: float | None
    train_loss: float
    gradient_norm: float
    weight_growth: float
    dead_units: float | None
    effective_rank: float
    seconds: float
    growth: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The record as a row, by column."""
        found = dataclasses.asdict(self)
        layers = {f"growth/{path}": x for path, x in found.pop("growth").items()}
        return found | layers


def of_member(seen: Mapping[str, Any], i: int, plan: RescalingPlan) -> dict[str, Any]:
    """What a record says of one member's units and weights.

    Args:
        seen: as :meth:`experiments.training.training.Training.observe` returns it.
        i: the member's place in its lane.
        plan: of the network.
    """
    growth, dead = seen["growth"][i], seen["dead_units"]
    layers = [layer.name for layer in plan.layers]
    return {
        "weight_growth": float(growth.mean()),
        "growth": dict(zip(layers, growth.tolist(), strict=True)),
        "dead_units": None if dead is None else float(dead[i]),
        "effective_rank": float(seen["effective_rank"][i]),
    }


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a table; numbers have six digits, and None is an empty cell."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(_cells(row.get(column) for column in columns) for row in rows)


def _cells(values: Iterable[Any]) -> list[Any]:
    return [f"{value:.6g}" if isinstance(value, float) else value for value in values]

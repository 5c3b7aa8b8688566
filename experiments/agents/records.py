"""What is measured at each level, and how curves of returns are summed up."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from experiments.agents.config import PARTS


@dataclasses.dataclass(frozen=True)
class LevelRecord:
    """One level of one seed: a row of an agent's ``metrics.csv``.

    Attributes:
        protocol: ``"agent"``.
        dataset: the environment.
        model: its network.
        method: its method.
        seed: from 0.
        task: the level, from 1.
        game: that was played.
        step: of the environments so far, all that are played side by side counted.
        average_return: area under the curve of returns: the mean over the level's
            iterations of the mean return of the episodes that ended there. Returns
            are sums of the game's own rewards.
        final_return: mean return of the episodes that ended in the last tenth of the
            level.
        episodes: that ended in the level.
        entropy: of the policy, in nats, mean over the last tenth.
        explained_variance: share of the returns' variance that the critic's values
            account for before each update, mean over the last tenth.
        train_loss: PPO's, mean over the level.
        gradient_norm: mean over the level's updates.
        weight_growth: mean over layers of the weight's norm over its initial one.
        dead_units: fraction of units that are never positive on some of the last
            rollout's observations.
        effective_rank: of what the last layers are given, on the same observations,
            mean over these layers.
        seconds: since the seed's first step.
        growth: of each layer's weight, by the layer's path.
    """

    protocol: str
    dataset: str
    model: str
    method: str
    seed: int
    task: int
    game: str
    step: int
    average_return: float | None
    final_return: float | None
    episodes: int
    entropy: float
    explained_variance: float | None
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


def of_level(seen: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What a record says of a level's curves.

    Args:
        seen: what :class:`experiments.agents.agent.Seen` has, by name, each
            (iterations,).
    """
    ended, returned = seen["ended"], seen["returned"]
    last = len(ended) // PARTS
    return {
        "average_return": area(ended, returned),
        "final_return": final(ended, returned, last),
        "episodes": int(ended.sum()),
        "entropy": float(seen["entropy"][-last:].mean()),
        "explained_variance": _mean(seen["explained_variance"][-last:]),
        "train_loss": float(seen["loss"].mean()),
        "gradient_norm": float(seen["gradient_norm"].mean()),
    }


def area(ended: np.ndarray, returned: np.ndarray) -> float | None:
    """The mean over iterations of the mean return of what ended there.

    An iteration in which nothing ended has the value of the one before it; those
    before the first end have that of the first.

    Example:
        >>> area(np.array([0, 2, 0, 1]), np.array([0.0, 8.0, 0.0, 8.0]))
        5.0

    Args:
        ended: episodes that ended, (iterations,).
        returned: the sum of their returns.

    Returns:
        None if no episode ended.
    """
    (some,) = np.nonzero(ended)
    if not len(some):
        return None
    latest = np.searchsorted(some, np.arange(len(ended)), side="right") - 1
    places = some[np.maximum(latest, 0)]
    return float((returned[places] / ended[places]).mean())


def final(ended: np.ndarray, returned: np.ndarray, last: int) -> float | None:
    """The mean return of the episodes that ended in the last iterations.

    Example:
        >>> final(np.array([2, 1, 3]), np.array([2.0, 5.0, 30.0]), last=2)
        8.75

    Args:
        ended: episodes that ended, (iterations,).
        returned: the sum of their returns.
        last: how many iterations count; if none ended there, the last iteration in
            which some did.

    Returns:
        None if no episode ended.
    """
    (some,) = np.nonzero(ended)
    if not len(some):
        return None
    first = min(max(len(ended) - last, 0), some[-1])
    return float(returned[first:].sum() / ended[first:].sum())


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None

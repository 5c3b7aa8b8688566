"""Times ways of doing the same in turn, and holds what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import time

import numpy as np

Steps = Callable[[], None]
"""Takes so many steps as last some milliseconds, and waits for them."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of a way of taking a step: a row of ``benchmark.csv``.

    What it is compared with is Adam's step in JAX on the same parameters.

    Attributes:
        piece: ``"optimizer"``, ``"training"`` or ``"loop"``.
        case: what steps are taken of, in words.
        layers: how many there are.
        leaves: how many arrays.
        parameters: how many numbers in them.
        way: of taking the step.
        seconds: of a step or a whole run, the median.
        ratio: of its time to Adam's, the median over rounds.
        ratio_low: the ratio's lower quartile.
        ratio_high: its upper quartile.
        rounds: how many.
        compile_seconds: of lowering and compilation, the median.
        compile_ratio: of these to Adam's, the median.
        memory_ratio: of the program's peak memory to that of Adam's.
    """

    piece: str
    case: str
    layers: int
    leaves: int
    parameters: int
    way: str
    seconds: float
    ratio: float
    ratio_low: float
    ratio_high: float
    rounds: int
    compile_seconds: float | None = None
    compile_ratio: float | None = None
    memory_ratio: float | None = None


def compare(
    steps: Steps, reference: Steps, count: int, rounds: int
) -> dict[str, float]:
    """What a :class:`Row` says of the time of a way, measured in turn with Adam's.

    Two at a time and not all: PyTorch's threads go on spinning for a while and would
    slow down what comes next.

    Args:
        steps: of the way.
        reference: Adam's.
        count: of steps that each takes.
        rounds: how many.
    """
    ways = [reference] if steps is reference else [reference, steps]
    times = time_in_turn(ways, rounds) / count
    return medians(times[:, -1], times[:, 0])


def time_in_turn(ways: Sequence[Steps], rounds: int) -> np.ndarray:
    """Seconds of each round and way, (rounds, ways).

    Machines drift, so only what is measured in turn can be compared.
    """
    for steps in ways:
        steps()  # Compiles.
    times = np.empty((rounds, len(ways)))
    for row in times:
        for i, steps in enumerate(ways):
            began = time.perf_counter()
            steps()
            row[i] = time.perf_counter() - began
    return times


def medians(seconds: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """What a :class:`Row` says of a way's rounds, and of those in turn with them.

    Args:
        seconds: of a step, (rounds,).
        reference: of a step of Adam's, (rounds,).
    """
    low, middle, high = np.percentile(seconds / reference, [25, 50, 75])
    return {
        "seconds": float(np.median(seconds)),
        "ratio": float(middle),
        "ratio_low": float(low),
        "ratio_high": float(high),
    }

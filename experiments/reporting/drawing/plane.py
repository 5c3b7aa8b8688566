"""A map of what a sweep found over two things that were varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import textwrap
from typing import Any

from matplotlib.figure import Figure
import numpy as np

RATE = "learning rate"
LEAST_WIDTH = 5.35
"""Inches, which a title needs, however few columns there are."""

LINE = 66
"""Characters of a title for which there is room then."""

AXES = {"feature": "λ of the features", "classifier": "λ of the classifier"}
"""What coefficients are called beside a map, unless by their own names."""


def draw_plane(
    title: str, points: Sequence[tuple[Any, float]], scores: np.ndarray
) -> Figure | None:
    """Scores over the first two things that were varied, a coefficient first.

    Where others were varied as well, each cell shows its best, as the title then says.

    Args:
        title: what was swept.
        points: coefficient and learning rate of each score.
        scores: (points,), the higher the better.

    Returns:
        The figure; None unless two things were varied.
    """
    tried = [_numbers(coefficient, rate) for coefficient, rate in points]
    known = {name: sorted({numbers[name] for numbers in tried}) for name in tried[0]}
    varied = [name for name, values in known.items() if len(values) > 1]
    if len(varied) < 2:
        return None
    upwards, along, *others = varied
    rows, columns = known[upwards], known[along]
    cells: dict[tuple[float, float], float] = {}
    for numbers, score in zip(tried, scores, strict=True):
        place = numbers[upwards], numbers[along]
        cells[place] = np.fmax(score, cells.get(place, np.nan))
    values = np.array([[cells.get((r, c), np.nan) for c in columns] for r in rows])
    width = max(LEAST_WIDTH, 1.6 + 0.75 * len(columns))
    figure = Figure(figsize=(width, 1.3 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="viridis", origin="lower", aspect="auto")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            best = value == np.nanmax(values)
            axes.text(
                j,
                i,
                f"{value:.3f}",
                ha="center",
                va="center",
                color="black" if value > middle else "white",
                weight="bold" if best else "normal",
                fontsize=9,
            )
    axes.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
    axes.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
    axes.set_xlabel(AXES.get(along, along))
    axes.set_ylabel(AXES.get(upwards, upwards))
    lines = title.splitlines()
    for name in others:
        listed = ", ".join(f"{value:g}" for value in known[name])
        lines.append(f"the best of {name}s {listed}")
    filled = [part for line in lines for part in textwrap.wrap(line, LINE)]
    figure.suptitle("\n".join(filled), fontsize=10)
    figure.colorbar(image, shrink=0.9)
    return figure


def _numbers(coefficient: Any, rate: float) -> dict[str, float]:
    """What may be varied, by name."""
    found = {RATE: rate}
    if isinstance(coefficient, Mapping):
        return {name: float(x) for name, x in coefficient.items()} | found
    if coefficient is not None:
        return {"coefficient λ": float(coefficient)} | found
    return found

"""A map of what a sweep found over two things that were varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
import numpy as np


def draw_plane(
    title: str, points: Sequence[tuple[Any, float]], scores: np.ndarray
) -> Figure | None:
    """Scores over the coefficients of two groups, or over coefficient and rate.

    Of several learning rates, each pair of coefficients shows its best, as the title
    then says.

    Args:
        title: what was swept.
        points: coefficient and learning rate of each score.
        scores: (points,), the higher the better.

    Returns:
        The figure; None unless two things were varied.
    """
    cells: dict[tuple[float, float], float] = {}
    names = ("learning rate", "coefficient λ")
    for (coefficient, rate), score in zip(points, scores, strict=True):
        if isinstance(coefficient, Mapping):
            names = ("λ of the classifier", "λ of the features")
            place = (float(coefficient["feature"]), float(coefficient["classifier"]))
        elif coefficient is None:
            return None
        else:
            place = (float(coefficient), rate)
        cells[place] = np.fmax(score, cells.get(place, np.nan))
    rows, columns = (sorted({place[i] for place in cells}) for i in range(2))
    if min(len(rows), len(columns)) < 2:
        return None
    values = np.array([[cells.get((r, c), np.nan) for c in columns] for r in rows])
    figure = Figure(
        figsize=(1.6 + 0.75 * len(columns), 1.3 + 0.5 * len(rows)), layout="constrained"
    )
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
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    rates = sorted({rate for _, rate in points})
    if names[0] != "learning rate" and len(rates) > 1:
        title += "\nthe best of learning rates " + ", ".join(f"{r:g}" for r in rates)
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, shrink=0.9)
    return figure

"""A report's figures, of cells that share a setting; None without data for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import textwrap
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator
from matplotlib.typing import LineStyleType
import numpy as np

from experiments.reporting.cells import Cell, label
from experiments.reporting.tables import RETENTION

COLORS = {
    "scratch": "#000000",
    "vanilla": "#666666",
    "l2": "#0072b2",
    "l2_init": "#56b4e9",
    "shrink_and_perturb": "#009e73",
    "head_reset": "#cc79a7",
    "full_reset": "#e69f00",
    "swr": "#d55e00",
    "swr_two": "#8b1a1a",
}
"""Told apart by readers who see fewer colours (Okabe and Ito's palette)."""

REFERENCES = ("scratch", "vanilla")
"""Dashed in the figure: plain training without and with a start on less data."""

OTHER_COLORS = ("#882255", "#332288", "#999933", "#44aa99", "#aa4499", "#661100")
"""For methods without a colour in COLORS (from Paul Tol's muted palette); they are
dotted, too."""

LINE_POINTS = 250
"""Of a line across a figure at most, which has about as many pixels for them."""

PANEL_POINTS = 30
"""Of a line in one of several panels at most."""

WIDTH = 7.4
"""Of a figure, in inches."""


class Style(NamedTuple):
    """How a method is drawn in all figures of a setting.

    Attributes:
        name: what the legend calls it.
        color: of its line.
        dashes: Matplotlib's line style.
        width: of its line, in points.
    """

    name: str
    color: str
    dashes: LineStyleType
    width: float


def styles(cells: Sequence[Cell]) -> dict[Cell, Style]:
    """Tells methods apart; one with several coefficients is told by them as well."""
    methods = [cell.method for cell in cells]
    others = list(dict.fromkeys(m for m in methods if m not in COLORS))
    found = {}
    for cell in cells:
        method, name = cell.method, label(cell.method)
        dashes: LineStyleType = "-"
        if method in others:
            color = OTHER_COLORS[others.index(method) % len(OTHER_COLORS)]
            dashes = ":"
        else:
            color = COLORS[method]
        if methods.count(method) > 1:
            name = f"{name} (λ {cell.coefficient})"
            same = [c for c in cells if c.method == method]
            dashes = ("-", "-.", ":", "--")[same.index(cell) % 4]
        elif method in REFERENCES:
            dashes = "--"
        width = 2.0 if method == "swr" else 1.4
        found[cell] = Style(_plain(name), color, dashes, width)
    return found


def learning_curves(cells: Sequence[Cell]) -> Figure | None:
    """Test accuracy over all stages, as in the paper's figures 2 to 4."""
    figure = _across(cells, "test_accuracy")
    if figure is not None:
        _limit_accuracy(figure.axes[0], _measured(cells, "test_accuracy"))
    return figure


def weight_growth(cells: Sequence[Cell]) -> Figure | None:
    """Norms over initial norms: of each layer if recorded, else their mean."""
    layered = [cell for cell in cells if _layers(cell)]
    if layered:
        return _layer_growth(layered)
    return _across(cells, "weight_growth")


def balancedness(cells: Sequence[Cell]) -> Figure | None:
    """Balancedness and test accuracy over epochs, as in the paper."""
    if not _measured(cells, "balancedness"):
        return None
    return _side_by_side(cells, ("balancedness", "test_accuracy"))


def hidden_units(cells: Sequence[Cell]) -> Figure | None:
    """Dead units and effective rank over all stages; one alone if only it is known."""
    return _side_by_side(cells, ("dead_units", "effective_rank"))


def proportionality(cells: Sequence[Cell]) -> Figure | None:
    """Test accuracy against the ratio of rescaling, a panel for each time."""
    found = {cell: cell.rescaled() for cell in cells}
    whens = sorted({when for rescaled in found.values() for when in rescaled.whens})
    if not whens:
        return None
    figure = _figure(0.5)
    panels = figure.subplots(1, len(whens), squeeze=False, sharey=True)[0]
    named = styles(cells)
    for axes, when in zip(panels, whens, strict=True):
        for cell, rescaled in found.items():
            for biases, dashes, marker in (("rescaled", "-", "o"), ("kept", "--", "s")):
                means = [
                    (ratio, rescaled.accuracy(ratio, biases, when).mean())
                    for ratio in rescaled.ratios
                    if len(rescaled.accuracy(ratio, biases, when))
                ]
                if means:
                    axes.plot(
                        *zip(*means, strict=True),
                        color=named[cell].color,
                        linestyle=dashes,
                        marker=marker,
                        markersize=4,
                        markerfacecolor=named[cell].color if marker == "o" else "white",
                    )
        axes.set_xscale("log")
        # Labels of ratios next to 1 would run into its own.
        ratios = {ratio for rescaled in found.values() for ratio in rescaled.ratios}
        axes.set_xticks(
            [r for r in ratios if r == 1 or (r > 0 and abs(np.log10(r)) > 0.1)]
        )
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.set_title(_plain(when), fontsize="medium")
        axes.set_xlabel("ratio")
        _open(axes)
    panels[0].set_ylabel("test accuracy")
    handles = [
        Line2D([], [], color="#000000", linestyle="-", marker="o", markersize=4),
        Line2D(
            [], [], color="#000000", linestyle="--", marker="s", markersize=4, mfc="w"
        ),
    ]
    names = ["biases rescaled", "biases kept"]
    if len(cells) > 1:
        handles += [Line2D([], [], color=named[cell].color) for cell in cells]
        names += [named[cell].name for cell in cells]
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    return figure


def retention(cells: Sequence[Cell]) -> Figure | None:
    """Test accuracy around changes of data against the last before them."""
    found = {cell: cell.retention() for cell in cells}
    shown = [c for c in cells if np.isfinite(found[c]["before"]).any()]
    if not shown:
        return None
    figure = _figure(0.22 + 0.045 * len(shown))
    axes = figure.subplots()
    axes.set_xscale("symlog", linthresh=1)
    named = styles(cells)
    for row, cell in enumerate(shown):
        for name, marker, lift in (("at", "o", -0.14), ("after", "D", 0.14)):
            # Means over seeds: small for each change, large over all of them.
            lost = 100 * (found[cell][name] - found[cell]["before"])
            changes = lost[:, np.isfinite(lost).all(axis=0)].mean(axis=0)
            if not len(changes):
                continue
            color = named[cell].color
            place = row + lift
            if len(changes) > 1:
                places = np.full(len(changes), place)
                axes.scatter(changes, places, 9, c=color, marker=marker, alpha=0.35)
            fill = color if name == "at" else "white"
            axes.scatter(
                changes.mean(),
                place,
                45,
                c=fill,
                marker=marker,
                edgecolors=color,
                zorder=3,
            )
    axes.axvline(0, color="#000000", linewidth=0.8)
    axes.xaxis.set_major_locator(FixedLocator([-100, -10, -3, -1, -0.3, 0, 0.3, 1, 10]))
    axes.xaxis.set_major_formatter(
        lambda value, _: f"{value:+g}".replace("-", "−") if value else "0"
    )
    axes.minorticks_off()
    axes.set_yticks(range(len(shown)), [named[cell].name for cell in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel("percentage points from the last accuracy before the change")
    _open(axes)
    marks = [
        (Line2D([], [], color="#000000", ls="", marker="o"), "at"),
        (Line2D([], [], color="#000000", ls="", marker="D", mfc="w"), "after"),
    ]
    drawn = [
        (mark, RETENTION[name])
        for mark, name in marks
        if any(np.isfinite(found[cell][name]).any() for cell in shown)
    ]
    handles, names = zip(*drawn, strict=True) if drawn else ((), ())
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _figure(aspect: float) -> Figure:
    return Figure(figsize=(WIDTH, WIDTH * aspect), layout="constrained")


def _open(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _measured(cells: Sequence[Cell], column: str) -> list[Cell]:
    return [cell for cell in cells if np.isfinite(cell.curve(column)[1]).any()]


def _draw_curves(
    axes: Axes,
    cells: Sequence[Cell],
    column: str,
    named: Mapping[Cell, Style],
    points: int = LINE_POINTS,
) -> None:
    """Means over seeds; plain training and SWR have bands of one deviation."""
    for cell in cells:
        style = named[cell]
        epochs, values = cell.curve(column)
        kept = _thinned(epochs, points)
        epochs, values = epochs[kept], values[:, kept]
        mean = values.mean(axis=0)
        axes.plot(
            epochs,
            mean,
            color=style.color,
            linestyle=style.dashes,
            linewidth=style.width,
            marker="o" if len(epochs) == 1 else None,
            zorder=4 if cell.method == "swr" else 3,
        )
        low, high = _band(cell, values)
        if (low < high).any():
            axes.fill_between(
                epochs, low, high, color=style.color, alpha=0.12, linewidth=0
            )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]))
    _open(axes)


def _band(cell: Cell, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper edge; the mean, twice, where a method has no band."""
    mean, deviation = values.mean(axis=0), 0.0
    if len(values) > 1 and cell.method in (*REFERENCES, "swr"):
        deviation = values.std(axis=0, ddof=1)
    return mean - deviation, mean + deviation


def _across(cells: Sequence[Cell], column: str) -> Figure | None:
    """A column over all stages, of all cells that have it."""
    shown, named = _measured(cells, column), styles(cells)
    if not shown:
        return None
    figure = _figure(0.6)
    axes = figure.subplots()
    _draw_curves(axes, shown, column, named)
    _mark_changes(axes, shown)
    axes.set_ylabel(column.replace("_", " "))
    _legend(figure, shown, named)
    return figure


def _side_by_side(cells: Sequence[Cell], columns: Sequence[str]) -> Figure | None:
    """A panel for each column that was measured, of all cells that have one."""
    measured = {column: _measured(cells, column) for column in columns}
    shown = [cell for cell in cells if any(cell in some for some in measured.values())]
    if not shown:
        return None
    drawn = [column for column in columns if measured[column]]
    figure, named = _figure(0.5), styles(cells)
    for axes, column in zip(
        figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True
    ):
        _draw_curves(axes, measured[column], column, named, LINE_POINTS // len(drawn))
        _mark_changes(axes, shown)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        axes.set_ylabel(column.replace("_", " "))
    _legend(figure, shown, named)
    return figure


def _limit_accuracy(axes: Axes, cells: Sequence[Cell]) -> None:
    """Cuts off the first epochs of what starts anew, which would squeeze the rest."""
    bands = [_band(cell, cell.curve("test_accuracy")[1]) for cell in cells]
    lows, highs = (np.concatenate(edges) for edges in zip(*bands, strict=True))
    low, high = np.nanpercentile(lows, 5), np.nanpercentile(highs, 99.5)
    margin = max(0.15 * (high - low), 0.002)
    axes.set_ylim(max(low - margin, 0.0), min(high + margin, 1.0))


def _mark_changes(axes: Axes, cells: Sequence[Cell]) -> None:
    run = cells[0].run
    for stage in range(1, run.stages):
        axes.axvline(
            stage * run.epochs, color="#000000", linewidth=0.8, alpha=0.5, linestyle=":"
        )


def _legend(figure: Figure, cells: Sequence[Cell], named: Mapping[Cell, Style]) -> None:
    lines = [
        Line2D(
            [],
            [],
            color=named[cell].color,
            linestyle=named[cell].dashes,
            linewidth=named[cell].width,
        )
        for cell in cells
    ]
    figure.legend(
        lines,
        [named[cell].name for cell in cells],
        loc="outside lower center",
        ncols=4,
        frameon=False,
    )


def _layers(cell: Cell) -> list[str]:
    """Columns of layers whose growth was measured."""
    return [
        name
        for name in cell.run.columns
        if name.startswith("growth/") and _measured([cell], name)
    ]


def _layer_growth(cells: Sequence[Cell]) -> Figure:
    """A panel for each method, a line for each layer, darkest next to the input."""
    layers = list(dict.fromkeys(name for cell in cells for name in _layers(cell)))
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(layers)))
    across = min(len(cells), 4)
    down = -(-len(cells) // across)
    figure = _figure(0.16 + 0.27 * down)
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    named = styles(cells)
    for place, axes in enumerate(panels.flat):
        if place >= len(cells):
            axes.set_visible(False)
            continue
        cell = cells[place]
        for name, shade in zip(layers, shades, strict=True):
            epochs, values = cell.curve(name)
            kept = _thinned(epochs, PANEL_POINTS)
            mean = values.mean(axis=0)
            axes.plot(epochs[kept], mean[kept], color=shade, linewidth=1.2)
        axes.set_title(textwrap.shorten(named[cell].name, 20), fontsize="medium")
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True, steps=[1, 2, 5, 10]))
        if place % across == 0:
            axes.set_ylabel("norm / initial")
        if place + across >= len(cells):  # Nothing below it.
            axes.set_xlabel("epoch")
            axes.tick_params(labelbottom=True)
        _open(axes)
    shown = list(range(len(layers)))
    if len(layers) > 8:  # The shades between tell the others.
        shown = np.unique(np.linspace(0, len(layers) - 1, 8).astype(int)).tolist()
    figure.legend(
        [Line2D([], [], color=shades[i]) for i in shown],
        [_plain(layers[i].removeprefix("growth/")) for i in shown],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    return figure


def _thinned(epochs: np.ndarray, points: int) -> np.ndarray:
    """Indices of about as many points, both sides of every change among them."""
    spread = np.linspace(0, len(epochs) - 1, min(points, len(epochs))).round()
    change = np.flatnonzero(np.diff(epochs) == 0)
    return np.unique(np.concatenate([spread, change, change + 1]).astype(int))


def _plain(text: str) -> str:
    """Text that Matplotlib does not take for mathematics or for something to hide."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text

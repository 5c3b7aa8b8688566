"""The figure of a run, or of several together; None without data for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
import numpy as np
import pandas as pd

from experiments.agents.config import AGENT
from experiments.reporting.drawing.curves import (
    METRICS,
    Style,
    behind_changes,
    changes,
    curve,
    entries,
    limits,
    styles_of,
)
from experiments.reporting.naming import (
    has_tasks,
    heading,
    measure,
    metric,
    task,
)

SIZE = (8.6, 4.2)
"""Of a figure, in inches."""

DPI = 160
"""Of a figure's file, in dots per inch."""

MOST_BANDS = 8
"""More bands than this hide each other."""

_RULES: dict[str, dict[str, Any]] = {
    "rescaled": {"ls": "-", "marker": "o", "ms": 4},
    "kept": {"ls": "--", "marker": "s", "ms": 4, "mfc": "white"},
}
"""How lines of the two rules for biases look, beside a method's color."""

_DASHES = {"solid": "-", "dot": ":", "dash": "--", "dashdot": "-."}


def draw(rows: pd.DataFrame) -> Figure | None:
    """The figure that fits a protocol, under a heading that says what was run.

    Args:
        rows: of one setting, with the name of each entry.
    """
    if rows.empty:
        return None
    protocol, dataset, model = rows[["protocol", "dataset", "model"]].iloc[0]
    if protocol == "proportionality":
        figure = proportionality(rows)
    else:
        beside = {"balancedness": ["balancedness"], AGENT: ["entropy"]}
        columns = [*beside.get(protocol, []), metric(protocol)]
        figure = learning_curves(rows, columns)
    if figure is not None:
        figure.suptitle(plain(heading(protocol, dataset, model)), fontsize=11)
    return figure


def learning_curves(rows: pd.DataFrame, columns: Sequence[str]) -> Figure | None:
    """Means over seeds with bands of one standard deviation, a panel for each column.

    Names stand beside the ends of the last panel's lines, so that they cover none.
    """
    drawn = list(entries(rows))
    looks = styles_of(drawn)
    columns = [c for c in columns if any(len(curve(of, c)) for _, of in drawn)]
    if not columns:
        return None
    protocol = rows["protocol"].iloc[0]
    figure = Figure(figsize=SIZE, layout="constrained")
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    for axes, column in zip(panels, columns, strict=True):
        found = [curve(of_entry, column) for _, of_entry in drawn]
        lines = [
            (first["name"], line, style)
            for (first, _), line, style in zip(drawn, found, looks, strict=True)
            if len(line)
        ]
        axes.margins(x=0)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
        band = len(drawn) <= MOST_BANDS
        if len({place for line in found for place in line.index}) == 1:
            _draw_points(axes, lines, band)
        else:
            for _, line, style in lines:
                _draw_line(axes, line, style, band)
        ends = [(name, line["mean"].iloc[-1], style) for name, line, style in lines]
        for change in changes(rows):
            axes.axvline(change, color="#000000", lw=0.8, alpha=0.5, ls=":")
        axes.set_ylabel((METRICS | {metric(protocol): measure(protocol)})[column])
        axes.set_xlabel(task(protocol) if has_tasks(protocol) else "epoch")
        open_axes(axes)
        if column == "test_accuracy":
            together = pd.concat(found)
            mean, deviation = together["mean"], together["deviation"].fillna(0)
            bands = pd.concat([mean - deviation, mean + deviation])
            axes.set_ylim(limits(bands, behind_changes(rows)))
    _name_ends(axes, ends)
    return figure


def proportionality(rows: pd.DataFrame) -> Figure | None:
    """Test accuracy against the ratio of rescaling, a panel for each time."""
    rows = rows[rows["finished"]]
    if rows.empty:
        return None
    whens = rows["when"].unique()
    figure = Figure(figsize=SIZE, layout="constrained")
    panels = figure.subplots(1, len(whens), squeeze=False, sharey=True)[0]
    drawn = list(entries(rows))
    looks = styles_of(drawn)
    lines: dict[str, tuple[pd.DataFrame, dict[str, Any]]] = {}
    for (first, of_entry), style in zip(drawn, looks, strict=True):
        called = f"{first['name']}, " if len(drawn) > 1 else ""
        for biases, look in _RULES.items():
            at = of_entry[of_entry["biases"] == biases]
            lines[f"{called}biases {biases}"] = at, {"color": style.color, **look}
    for axes, when in zip(panels, whens, strict=True):
        for at, look in lines.values():
            means = at[at["when"] == when].groupby("ratio")["test_accuracy"].mean()
            axes.plot(means.index, means, **look)
        axes.set_xscale("log")
        # Labels of ratios next to 1 would run into its own.
        ratios = rows["ratio"].unique()
        axes.set_xticks(
            [r for r in ratios if r == 1 or (r > 0 and abs(np.log10(r)) > 0.1)]
        )
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.set_title(plain(when), fontsize="medium")
        axes.set_xlabel("ratio")
        open_axes(axes)
    panels[0].set_ylabel("test accuracy")
    handles = [Line2D([], [], **look) for _, look in lines.values()]
    names = [plain(name) for name in lines]
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    return figure


def open_axes(axes: Axes) -> None:
    """A light grid, and a frame on two sides only."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_line(axes: Axes, line: pd.DataFrame, style: Style, band: bool) -> None:
    mean, color, dashes = line["mean"], style.color, _DASHES[style.dash]
    marker, above = "o" if len(line) == 1 else None, 3 + style.width
    look: dict[str, Any] = {
        "ls": dashes,
        "lw": style.width,
        "marker": marker,
        "zorder": above,
    }
    axes.plot(line.index, mean, color=color, **look)
    if band:
        low, high = mean - line["deviation"], mean + line["deviation"]
        axes.fill_between(line.index, low, high, color=color, alpha=0.12, lw=0)


def _draw_points(
    axes: Axes, lines: Sequence[tuple[str, pd.DataFrame, Style]], band: bool
) -> None:
    """Means of what has one task or epoch, side by side, with their deviations."""
    ((center, *_), *_) = (line.index for _, line, _ in lines)
    right = center + 0.5
    for k, (_, line, style) in enumerate(lines):
        place = center + (k + 0.5) / len(lines) - 0.5
        mean, color = line["mean"].iloc[0], style.color
        spread = line["deviation"] if band and line["deviation"].notna().all() else None
        axes.errorbar([place], [mean], spread, fmt="o", color=color, lw=style.width)
        axes.plot([place, right], [mean, mean], color=color, lw=0.8, alpha=0.5)
    axes.set_xlim(center - 0.5, right)
    axes.set_xticks([center], [f"{center:g}"])


def _name_ends(axes: Axes, ends: list[tuple[str, float, Style]]) -> None:
    """Names beside the ends of their lines, pushed apart where lines end together."""
    ends = sorted(ends, key=lambda end: end[1])
    low, high = axes.get_ylim()
    wanted = np.clip([(value - low) / (high - low) for _, value, _ in ends], 0, 1)
    gap = min(0.056, 1.04 / max(1, len(ends) - 1))
    steps = gap * np.arange(len(ends))
    # Each at least a gap above the one below it; then none above the top.
    places = np.maximum.accumulate(wanted - steps) + steps
    places = np.minimum(places, 1.02 - steps[::-1])
    frame: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
    for (name, _, style), end, place in zip(ends, wanted, places, strict=True):
        look: dict[str, Any] = {"color": style.color, **frame}
        axes.plot([1.0, 1.025], [end, place], lw=0.8, **look)
        dashes: dict[str, Any] = {"ls": _DASHES[style.dash], "lw": style.width}
        axes.plot([1.03, 1.075], [place, place], **dashes, **look)
        size = 9.5 if gap > 0.05 else 7.5
        axes.text(1.085, place, plain(name), va="center", fontsize=size, **look)


def plain(text: str) -> str:
    """Text that Matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")

"""The page's figures, as Plotly reads them; None or nothing without data for one."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from experiments.reporting.drawing.curves import (
    METRICS,
    Style,
    behind_changes,
    by_seed,
    changes,
    entries,
    limits,
    on_dark,
    over_seeds,
    retention,
    styles,
    styles_of,
    thinned,
)
from experiments.reporting.naming import (
    has_tasks,
    measure,
    metric,
    score_in_words,
    task,
)

POINTS = 250
"""Of a line at most: about as many pixels as there are for them."""

LAYER_POINTS = 60
"""Of the growth of a single layer at most."""

WINDOWS = (1, 3, 10)
"""Tasks or epochs over which a line may be smoothed."""


def scores(table: pd.DataFrame, protocol: str) -> dict[str, Any] | None:
    """A ranking's scores with their intervals."""
    traces = []
    for row, style in zip(table.itertuples(), styles(table), strict=True):
        half = row.high - row.score
        error = {"type": "data", "array": _numbers([half]), "color": style.color}
        hover = "%{y}: %{x:.4f}" + (f" ± {half:.4f}" if half == half else "")
        marks = _marks(row.name, [row.score], hover, color=style.color, size=10)
        traces.append(marks | {"error_x": error})
    axis = {"title": {"text": score_in_words(protocol)}}
    return _by_entry(traces, axis) if len(table) > 1 else None


def curves(rows: pd.DataFrame) -> dict[str, Any] | None:
    """All that was measured over training, for a choice of what to draw.

    Returns:
        ``metrics``, ``windows``, ``changes`` of data, ``unit`` and ``ranges`` of axes,
        and ``lines``; each with its style and, by metric, ``x``, and ``mean`` and
        ``deviation`` for each window.
    """
    protocol = rows["protocol"].iloc[0]
    # Of this setting: most columns are layers of other networks.
    measured = rows.columns[rows.notna().any()]
    layers = [str(name) for name in measured if str(name).startswith("growth/")]
    labels = METRICS | {metric(protocol): measure(protocol)}
    labels |= {name: name.replace("growth/", "growth of ") for name in layers}
    lines = []
    for first, of_entry, style in _drawn(rows):
        data = {}
        for column in labels:
            layer = column in layers
            points, windows = (LAYER_POINTS, (1,)) if layer else (POINTS, WINDOWS)
            table = by_seed(of_entry, column)
            found = [thinned(over_seeds(table, w), points) for w in windows]
            if len(found[0]):
                data[column] = {"x": _numbers(found[0].index)} | {
                    name: [_numbers(one[name]) for one in found]
                    for name in ("mean", "deviation")
                }
        lines.append({"name": _plain(first["name"]), **style._asdict(), "data": data})
    drawn = [name for name in labels if any(name in line["data"] for line in lines)]
    drawn.sort(key=lambda name: name != metric(protocol))  # Which comes first, then.
    if not drawn:
        return None
    return {
        "metrics": [{"key": name, "label": _plain(labels[name])} for name in drawn],
        "windows": list(WINDOWS),
        "changes": changes(rows),
        "unit": task(protocol) if has_tasks(protocol) else "epoch",
        "ranges": {}
        if has_tasks(protocol)
        else {"test_accuracy": limits(rows["test_accuracy"], behind_changes(rows))},
        "lines": lines,
    }


def lost(rows: pd.DataFrame) -> dict[str, Any] | None:
    """Test accuracy around changes of data against the last before them."""
    traces = []
    for name, symbol in (("at", "circle"), ("after", "diamond-open")):
        for first, of_entry, style in _drawn(rows):
            found = retention(of_entry)
            points = 100 * (found[name] - found["before"]).dropna()
            changes = points.groupby(level="stage").mean().to_numpy()
            if not len(changes):
                continue
            for values, size, opacity in ((changes, 6, 0.4), ([changes.mean()], 12, 1)):
                look = {"color": style.color, "symbol": symbol, "opacity": opacity}
                places = _symmetric(np.asarray(values))
                hover = f"%{{y}}, {name}: %{{customdata:+.2f}}"
                marks = _marks(first["name"], places, hover, size=size, **look)
                traces.append(marks | {"customdata": _numbers(values)})
    ticks = [-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100]
    axis = {
        "title": {"text": "percentage points from the last accuracy before the change"},
        "tickvals": _numbers(_symmetric(np.array(ticks))),
        "ticktext": [f"{tick:+d}".replace("-", "−") if tick else "0" for tick in ticks],
        "zeroline": True,
    }
    return _by_entry(traces, axis) if traces else None


def proportionality(rows: pd.DataFrame) -> list[tuple[str, dict[str, Any]]]:
    """Test accuracy against the ratio of rescaling, a figure for each time."""
    rows = rows[rows["finished"]]
    found = []
    for when, at in rows.groupby("when", sort=False):
        traces = []
        for first, of_entry, style in _drawn(at):
            for biases, of_rule in of_entry.groupby("biases", sort=False):
                means = of_rule.groupby("ratio")["test_accuracy"].mean()
                dash = "dash" if biases == "kept" else "solid"
                trace = {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": _plain(f"{first['name']}, biases {biases}"),
                    "x": _numbers(means.index),
                    "y": _numbers(means),
                    "line": {"color": style.color, "dash": dash},
                    "hovertemplate": "ratio %{x}: %{y:.4f}",
                }
                traces.append(trace)
        layout = {
            "height": 380,
            "xaxis": {"type": "log", "title": {"text": "ratio"}},
            "yaxis": {"title": {"text": "test accuracy"}},
        }
        found.append((str(when), {"data": traces, "layout": layout}))
    return found


def dark_colors(value: Any) -> dict[str, str]:
    """For every colour in figures the one that takes its place on a dark page."""
    found: dict[str, str] = {}
    if isinstance(value, dict):
        color = value.get("color")
        found = {color: on_dark(color)} if isinstance(color, str) else {}
    inner = value.values() if isinstance(value, dict) else value
    for part in inner:
        if isinstance(part, dict | list):
            found |= dark_colors(part)
    return found


def _drawn(rows: pd.DataFrame) -> Iterable[tuple[pd.Series, pd.DataFrame, Style]]:
    """Each entry's first row, the rows that are drawn, and how."""
    found = list(entries(rows))
    looks = styles_of(found)
    return [(*entry, look) for entry, look in zip(found, looks, strict=True)]


def _marks(
    name: str, x: Iterable[float], hover: str, **marker: str | float
) -> dict[str, Any]:
    """Marks in the row of an entry."""
    places = _numbers(x)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": places,
        "y": [_plain(name)] * len(places),
        "marker": marker,
        "hovertemplate": f"{hover}<extra></extra>",
        "showlegend": False,
    }


def _by_entry(traces: list[dict[str, Any]], axis: dict[str, Any]) -> dict[str, Any]:
    """A figure with a row for each entry."""
    rows = len({trace["y"][0] for trace in traces})
    names = {"autorange": "reversed", "type": "category"}
    layout = {"height": 90 + 27 * rows, "xaxis": axis, "yaxis": names}
    return {"data": traces, "layout": layout}


def _plain(text: str) -> str:
    """Text that Plotly takes neither for markup nor for mathematics."""
    return escape(text).replace("$", "&#36;")


def _symmetric(values: np.ndarray) -> np.ndarray:
    """Linear near zero, logarithmic away from it."""
    return np.sign(values) * np.log10(1 + np.abs(values))


def _numbers(values: Iterable[float]) -> list[float | None]:
    """Five digits each; None, which JSON has, for what is not finite."""
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in values]

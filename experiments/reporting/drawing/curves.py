"""Lines over training: their values, and how each method is drawn everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments.methods import METHODS
from experiments.reporting.naming import CONTROLS, ENTRY
from experiments.reporting.runs import key

COLORS = {
    "fresh": "#000000",
    "scratch": "#000000",
    "vanilla": "#7a7a7a",
    "l2": "#0072b2",
    "l2_init": "#56b4e9",
    "shrink_and_perturb": "#009e73",
    "head_reset": "#cc79a7",
    "full_reset": "#e69f00",
    "swr": "#d55e00",
    "swr_two": "#8b1a1a",
    "swr_function": "#cc3377",
}
"""Told apart by readers who see fewer colours (Okabe and Ito's palette)."""

OTHER_COLORS = (
    *("#882255", "#332288", "#999933", "#44aa99", "#aa4499", "#661100"),
    *("#117733", "#6699cc"),
)
"""For methods without a colour in COLORS (Paul Tol's muted palette); they are dotted
or dashed, too."""

DASHES = ("solid", "dot", "dash", "dashdot")
"""As Plotly calls them."""

METRICS = {
    "online_accuracy": "online accuracy",
    "end_accuracy": "accuracy at a task's end",
    "test_accuracy": "test accuracy",
    "stream_accuracy": "test accuracy, averaged so far",
    "balancedness": "balancedness",
    "average_return": "average return",
    "final_return": "return in the last tenth of a level",
    "entropy": "entropy of the policy",
    "explained_variance": "explained variance",
    "train_loss": "training loss",
    "dead_units": "dead units",
    "effective_rank": "effective rank",
    "gradient_norm": "gradient norm",
    "weight_growth": "weight growth: norm over initial norm",
}
"""What is drawn over training, besides the growth of each layer."""


class Style(NamedTuple):
    """How a line is drawn.

    Attributes:
        color: of the line, on white.
        dash: one of :data:`DASHES`.
        width: in points.
    """

    color: str
    dash: str
    width: float


def styles(entries: pd.DataFrame) -> list[Style]:
    """A style for each entry; a method's colour is the same in every figure.

    Args:
        entries: the columns ``method``, ``coefficient`` and ``rate``; entries of one
            method are told apart by their dashes, and beyond these by their widths.
    """
    names = list(dict.fromkeys(entries["method"]))
    first = {name: _first_style(name, names) for name in names}
    taken, found = {*first.values()}, []
    for method, again in zip(
        entries["method"], entries["method"].duplicated(), strict=True
    ):
        style = first[method]
        if again:
            place = DASHES.index(style.dash)
            others = [
                style._replace(dash=dash, width=width)
                for width in (style.width, 0.6 * style.width)
                for dash in (*DASHES[place + 1 :], *DASHES[: place + 1])
            ]
            style = next((other for other in others if other not in taken), others[0])
            taken.add(style)
        found.append(style)
    return found


def _first_style(method: str, shown: Iterable[str]) -> Style:
    """Of a method's first entry; unknown methods are told apart by their places."""
    wide = method.startswith("swr") or method == "vanilla"
    color, dash = COLORS.get(method, ""), int(2 * (method in CONTROLS))
    if not color:
        others = [name for name in METHODS if name not in COLORS]
        others += sorted({*shown} - COLORS.keys() - METHODS.keys())
        place = others.index(method)
        color = OTHER_COLORS[place % len(OTHER_COLORS)]
        dash = (1 + place // len(OTHER_COLORS)) % len(DASHES)
    return Style(color, DASHES[dash], 2.4 if wide else 1.5)


def on_dark(color: str) -> str:
    """A colour as it is drawn on a dark page: lighter if it would not be seen there."""
    parts = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    luminance = np.array([0.2126, 0.7152, 0.0722]) @ (parts / 255) ** 2.2
    share = np.clip((0.14 - luminance) / 0.07, 0, 1) * (0.55 if parts.any() else 0.9)
    mixed = (parts + share * (255 - parts)).round().astype(int)
    return "#" + "".join(f"{part:02x}" for part in mixed)


def entries(rows: pd.DataFrame) -> Iterable[tuple[pd.Series, pd.DataFrame]]:
    """Each entry with a name, and its rows that are drawn.

    Those are the rows of finished seeds; as long as there is none, of all. Tasks
    that are not scored are not drawn.
    """
    if "scored" in rows and len(rows) and key(rows["protocol"].iloc[0]) == ["task"]:
        rows = rows[rows["scored"] != 0]
    for _, of_entry in rows.groupby(ENTRY, sort=False):
        finished = of_entry[of_entry["finished"]]
        yield of_entry.iloc[0], finished if len(finished) else of_entry


def styles_of(drawn: Iterable[tuple[pd.Series, pd.DataFrame]]) -> list[Style]:
    """The styles of what :func:`entries` has found, in its order."""
    return styles(pd.DataFrame([first[ENTRY] for first, _ in drawn], columns=ENTRY))


def curve(rows: pd.DataFrame, column: str, window: int = 1) -> pd.DataFrame:
    """A column over the whole of training, of one entry.

    Args:
        rows: of one entry of a setting.
        column: what to draw.
        window: over how many values, up to each, their mean is taken.

    Returns:
        What :func:`over_seeds` makes of what :func:`by_seed` finds.
    """
    return over_seeds(by_seed(rows, column), window)


def by_seed(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column over the whole of training, of each seed of one entry.

    Args:
        rows: of one entry of a setting.
        column: what to draw.

    Returns:
        A row for each place that all seeds have, by task, or by epochs since the
        start, of which two at a change of data may be equal, before and after it;
        a column for each seed. Empty if nothing was measured.
    """
    if column not in rows:
        return pd.DataFrame(dtype=float)
    place = key(rows["protocol"].iloc[0])
    table = rows.pivot(index=place, columns="seed", values=column)
    if place == ["task"]:
        at = table.index.to_numpy()
    else:
        epochs = int(rows["epochs"].iloc[0])
        stage, epoch = (table.index.get_level_values(name) for name in place)
        at = ((stage - 1) * epochs + epoch).to_numpy()
    table.index = pd.Index(at)
    return table.dropna()


def over_seeds(table: pd.DataFrame, window: int = 1) -> pd.DataFrame:
    """``mean`` and ``deviation`` over seeds of a table with a column for each.

    Args:
        table: as of :func:`by_seed`.
        window: over how many values, up to each, their mean is taken.

    Returns:
        As many rows; the deviation is NaN for a single seed.
    """
    if table.empty:
        return pd.DataFrame({"mean": [], "deviation": []}, dtype=float)
    table = table.rolling(window, min_periods=1).mean()
    return pd.DataFrame({"mean": table.mean(axis=1), "deviation": table.std(axis=1)})


def thinned(drawn: pd.DataFrame, points: int) -> pd.DataFrame:
    """About as many rows, both sides of every change of data among them."""
    if len(drawn) <= points:
        return drawn
    spread = np.linspace(0, len(drawn) - 1, points).round()
    change = np.flatnonzero(np.diff(drawn.index) == 0)
    kept = np.unique(np.concatenate([spread, change, change + 1]).astype(int))
    return drawn.iloc[kept]


def changes(rows: pd.DataFrame) -> list[int]:
    """Epochs after which the data change; of a stream of tasks, none to mark."""
    if "stage" not in key(rows["protocol"].iloc[0]):
        return []
    epochs, stages = int(rows["epochs"].iloc[0]), int(rows["stage"].max())
    return [stage * epochs for stage in range(1, stages)]


def behind_changes(rows: pd.DataFrame) -> pd.Series:
    """Test accuracy right behind each change of data, means over seeds.

    Of methods that do nothing when the data change: what these lose there is the
    change's doing. Others begin anew, or in part.
    """
    found = [
        retention(drawn)["after"].groupby(level="stage").mean()
        for first, drawn in entries(rows)
        if not _begins_anew(first["method"])
    ]
    return pd.concat([pd.Series(dtype=float), *found])


def _begins_anew(name: str) -> bool:
    method = METHODS.get(name)
    return method is None or method.last_stage_only or method.at_change is not None


def limits(accuracy: pd.Series, seen: pd.Series) -> tuple[float, float]:
    """A range without the first epochs of what starts anew, which squeeze the rest.

    Nor does it show what no accuracy is, such as a band's end above 1 at the one epoch
    where a seed has fallen.

    Args:
        accuracy: of all lines and bands.
        seen: of which nothing is left out, as of :func:`behind_changes`.
    """
    accuracy = accuracy[np.isfinite(accuracy)]
    if accuracy.empty:
        return 0.0, 1.0
    low, high = accuracy.quantile([0.05, 0.999])
    low = np.fmin(low, seen.min())
    margin = max(0.1 * (high - low), 0.002)
    return max(low - margin, 0.0), min(high + margin, 1.0)


def retention(rows: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy around each change of data, of the finished seeds of one entry.

    Returns:
        A row for each seed and change: ``before``, the last of the stage before;
        ``at``, right at the change, after what the method does there; ``after``,
        after the first epoch on the new data. NaN for what was not measured.
    """
    rows = rows[rows["finished"]]
    names, place = ["before", "at", "after"], ["seed", "stage", "epoch"]
    empty = pd.MultiIndex.from_tuples([], names=place[:2])
    if rows.empty or not changes(rows):
        return pd.DataFrame(columns=names, index=empty, dtype=float)
    epochs = int(rows["epochs"].iloc[0])
    table = rows.set_index(place)["test_accuracy"].unstack("epoch")
    table = table.reindex(columns=[epochs, 0, 1])
    table.columns = names
    # What was last belongs to the change that came after it.
    table["before"] = table["before"].groupby(level="seed").shift()
    return table[table.index.get_level_values("stage") >= 2]

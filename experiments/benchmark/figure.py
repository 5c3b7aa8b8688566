"""The cost of an optimiser's step, against parameters and against layers."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
import pandas as pd

from experiments.benchmark.optimizers import FEW_LAYERS, MORE_LAYERS
from experiments.reporting.drawing.curves import styles
from experiments.reporting.drawing.plots import SIZE, open_axes

DRAWN = {
    "Adam": ("vanilla", "o"),
    "Adam + SWR": ("swr", "o"),
    "AdamW": ("l2", "s"),
    "L2 Init + Adam": ("l2_init", "v"),
    "Adam + weight clipping": ("weight_clipping", "D"),
    "spectral + Adam": ("spectral", "^"),
    "PyTorch: fused Adam": ("vanilla", "o"),
    "PyTorch: fused Adam + SWR": ("swr", "o"),
}
"""What is drawn, with the method whose colour it has, and its marker."""

TICKS = (0.5, 0.7, 1, 1.3, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100)


def draw(rows: pd.DataFrame) -> Figure:
    """Time over Adam's with quartiles, a panel for few layers and one for many.

    Args:
        rows: of ``benchmark.csv``, of the optimiser's step.
    """
    figure = Figure(figsize=SIZE, layout="constrained")
    few, more = figure.subplots(1, 2, sharey=True)
    layers = FEW_LAYERS[0].layers
    _draw(few, rows[rows["layers"] == layers], "parameters")
    few.set_title(f"{layers} large layers", fontsize="medium")
    few.set_ylabel("time of a step over Adam's in JAX")
    parameters = rows["parameters"] / MORE_LAYERS[0].parameters
    _draw(more, rows[parameters.between(0.9, 1.1)], "layers")
    more.set_title("1e6 parameters in ever more layers", fontsize="medium")
    few.yaxis.set_major_locator(FixedLocator(TICKS))
    few.yaxis.set_major_formatter("{x:g}")
    few.yaxis.minorticks_off()
    lines = {line.get_label(): line for axes in (few, more) for line in axes.lines}
    figure.legend(
        handles=[lines[way] for way in DRAWN if way in lines],
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=9,
    )
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, across: str) -> None:
    looks = styles(pd.DataFrame({"method": [method for method, _ in DRAWN.values()]}))
    for (way, (_, marker)), look in zip(DRAWN.items(), looks, strict=True):
        of_way = rows[rows["way"] == way].sort_values(across)
        if of_way.empty:
            continue
        torch = way.startswith("PyTorch")
        axes.plot(
            of_way[across],
            of_way["ratio"],
            color=look.color,
            ls="--" if torch else "-",
            lw=1.5 if torch else look.width,
            marker=marker,
            mfc="white" if torch else look.color,
            ms=5,
            label=way,
        )
        axes.fill_between(
            of_way[across],
            of_way["ratio_low"],
            of_way["ratio_high"],
            color=look.color,
            alpha=0.12,
            lw=0,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(across)
    open_axes(axes)

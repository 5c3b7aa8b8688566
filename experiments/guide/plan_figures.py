"""Pictures of plans: the matrix E, and the walk through a jaxpr that finds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import textwrap
from typing import Any

import jax
from matplotlib.figure import Figure
import numpy as np

from experiments.guide.walk_steps import walk_steps
import swr_optax

COLORS = "RdBu"
"""Blue for positive exponents, red for negative ones."""

LIMIT = 2.0
"""Exponent of the strongest colour."""

WIDTH, HEIGHT = 0.36, 0.2
"""Of a cell, in inches."""

CHARACTER = 0.068
"""Width of a label's character, in inches."""


def plans_figure(
    norms: swr_optax.RescalingPlan, function: swr_optax.RescalingPlan
) -> Figure:
    """The matrices E of a network's two plans, side by side, or as one if equal.

    A row is a leaf or, set apart below, an output; a column is a layer.  Leaves
    come with the last layer that they follow in the first plan.

    Args:
        norms: the network's plan with priority ``"norms"``.
        function: that with priority ``"function"``.
    """
    plans = {
        'priority="norms"': norms,
        'priority="function"': function,
    }
    if np.allclose(norms.exponents, function.exponents):
        plans = {"either priority": norms}
    order = _network_order(norms)
    leaves = [norms.leaf_paths[i] for i in order]
    outputs = [
        "output" if len(norms.outputs) == 1 else f"output {name}"
        for name in norms.outputs
    ]
    layers = [layer.name for layer in norms.layers]
    across = max(map(len, leaves + outputs)) * CHARACTER
    across += len(plans) * (len(layers) * WIDTH + 0.3)
    down = max(map(len, layers)) * CHARACTER
    down += (len(leaves) + len(outputs) + 2) * HEIGHT

    figure = Figure(figsize=(across, down), layout="constrained")
    heights = [len(leaves), len(outputs)]
    axes = figure.subplots(2, len(plans), squeeze=False, height_ratios=heights)
    for column, (title, plan) in enumerate(plans.items()):
        named = column == 0
        above, below = axes[:, column]
        above.set_title(title, fontsize=9)
        draw_matrix(above, plan.exponents[order], leaves if named else (), layers)
        draw_matrix(below, plan.output_exponents, outputs if named else ())
    return figure


def _network_order(plan: swr_optax.RescalingPlan) -> list[int]:
    """The leaves by the last layer that they follow, which itself is first."""

    def place(leaf: int) -> tuple[int, bool]:
        followed = np.flatnonzero(plan.exponents[leaf])
        return int(max(followed, default=len(plan.layers))), leaf not in plan.weights

    return sorted(range(len(plan.leaves)), key=place)


def walk_figure(fn: Callable[..., Any], params: Any, x: jax.ShapeDtypeStruct) -> Figure:
    """A network's equations with their degrees, the constraints, and E.

    Args:
        fn: a network as :func:`experiments.guide.walk_steps.walk_steps` takes it.
        params: its parameters, or their shapes.
        x: the inputs' shape.
    """
    walk, steps = walk_steps(fn, params, x)
    leaves = [f"{leaf} ({walk.roles[i]})" for i, leaf in enumerate(walk.paths)]
    demands = [
        (f"{step.result}: {requirement.words}", requirement.row)
        for step in steps
        for requirement in step.requirements
    ]
    figure = Figure(figsize=(10.5, 5.6), layout="constrained")
    halves: Any = figure.subfigures(1, 2, width_ratios=[1, 1.3], wspace=0.03)
    left, right = halves
    axes = left.subplots()
    axes.set_title("1. Degree of each value", fontsize=10)
    degrees = np.array([step.degree for step in steps])
    draw_matrix(axes, degrees, [step.equation for step in steps], leaves)

    upper, lower = right.subfigures(2, 1, height_ratios=[1, 1.1])
    axes = upper.subplots()
    axes.set_title("2. What must agree: K", fontsize=10)
    words = [textwrap.fill(words, 34) for words, _ in demands]
    draw_matrix(axes, np.array([row for _, row in demands]), words, leaves)

    plans = [
        swr_optax.plan_rescaling(fn, params, x, priority="norms"),
        swr_optax.plan_rescaling(fn, params, x, priority="function"),
    ]
    for axes, plan in zip(lower.subplots(1, 2), plans, strict=True):
        axes.set_title(f'3. E, priority="{plan.priority}"', fontsize=10)
        draw_matrix(
            axes,
            np.concatenate([plan.exponents, plan.output_exponents]),
            [*plan.leaf_paths, *plan.outputs],
            [layer.name for layer in plan.layers],
        )
        axes.axhline(len(plan.leaves) - 0.5, color="black", linewidth=1)
    return figure


def draw_matrix(
    axes: Any,
    values: np.ndarray,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> None:
    """Coloured cells with their numbers, white for zero.

    Args:
        axes: of matplotlib.
        values: of shape (rows, columns).
        rows: names written to the left, if any.
        columns: names written above, if any.
    """
    height, width = values.shape
    shown = np.where(np.abs(values) > 5e-3, values, np.nan)
    axes.imshow(shown, cmap=COLORS, vmin=-LIMIT, vmax=LIMIT, aspect="auto")
    for (i, j), value in np.ndenumerate(shown):
        if not np.isnan(value):
            color = "white" if abs(value) > LIMIT / 2 else "black"
            text = _short(value)
            axes.text(j, i, text, ha="center", va="center", fontsize=7, color=color)
    axes.set_xticks(range(width) if columns else [], columns, rotation=90, fontsize=8)
    axes.set_yticks(range(height) if rows else [], rows, fontsize=8)
    axes.xaxis.tick_top()
    axes.set_xticks(np.arange(width + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(height + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#dddddd", linewidth=0.6)
    axes.tick_params(which="both", length=0)


def _short(value: float) -> str:
    """``1``, ``.33``, ``−.5``."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return text.replace("0.", ".", 1).replace("-", "−")

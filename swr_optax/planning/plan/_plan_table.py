"""A plan as a printed table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from swr_optax.planning.plan._outputs import SOLE_OUTPUT

if TYPE_CHECKING:
    from swr_optax.planning.plan._plan import RescalingPlan

MOST_NAMES = 8
"""How many followers of a layer, or places of an approximation, a line names."""


def table(plan: RescalingPlan) -> str:
    """The layers and who follows them, the outputs, and what to know besides."""
    count = f"{len(plan.layers)} layers, {len(plan.leaves)} leaves"
    lines = [f"RescalingPlan: {count}, priority {plan.priority!r}", ""]
    rows = [("layer", "shape", "group", "who follows it")]
    for j, layer in enumerate(plan.layers):
        powers = [
            ("itself" if leaf is layer else leaf.name, plan.exponents[i, j])
            for i, leaf in enumerate(plan.leaves)
            if leaf is not layer or plan.exponents[i, j] != 1
        ]
        followers = _with_powers(powers)
        more = len(followers) - MOST_NAMES
        if more > 1:  # Then the strongest.
            # What differs by rounding only keeps the leaves' order.
            strongest = sorted(powers, key=lambda power: -round(abs(power[1]), 6))
            followers = _with_powers(strongest)
            followers[MOST_NAMES:] = [f"and {more} more"]
        rows.append(
            (
                layer.name,
                "×".join(map(str, layer.shape)) or "scalar",
                layer.group,
                ", ".join(followers) or "nobody",
            )
        )
    lines += _aligned(rows)
    lines.append("")
    for name, row in zip(plan.outputs, plan.output_exponents, strict=True):
        factors = _with_powers(zip((x.name for x in plan.layers), row, strict=True))
        scale = "·".join(f"c({factor})" for factor in factors) or "1: it stays"
        title = name if name == SOLE_OUTPUT else f"output {name}"
        lines.append(f"{title} × {scale}")
    for title, words in (
        ("left alone", plan.left_alone),
        ("approximate", _together(plan.approximations)),
        ("unmet", plan.unmet),
    ):
        lines += [f"{title}: {word}" for word in words]
    return "\n".join(lines)


def _together(sentences: Iterable[str]) -> list[str]:
    """Those that say the same of several values as one: ``"a, b and c meet …"``."""
    values: dict[str, list[str]] = {}
    for sentence in sentences:
        value, _, what = sentence.partition(" meets ")
        values.setdefault(what, []).append(value)
    together = []
    for what, names in values.items():
        if len(names) == 1 or not what:
            together += [f"{name} meets {what}" if what else name for name in names]
            continue
        more = len(names) - MOST_NAMES
        if more > 1:
            names[MOST_NAMES:] = [f"{more} more"]
        together.append(f"{', '.join(names[:-1])} and {names[-1]} meet {what}")
    return together


def _with_powers(factors: Iterable[tuple[str, float]]) -> list[str]:
    """``["a", "b^2"]`` for factors ``[("a", 1), ("b", 2), ("c", 0)]``."""
    return [
        path if power == 1 else f"{path}^{power:.3g}"
        for path, power in factors
        if power
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]

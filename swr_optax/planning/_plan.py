"""The plan: which parameters scale with which, and by what power."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from swr_optax.planning import _paths
from swr_optax.planning._constraints import Priority
from swr_optax.planning.degrees import Role


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One leaf of the parameters or of the running statistics.

    Of a leaf that stacks the parameters of several layers, each slice along the
    first axis is a leaf of its own.

    Attributes:
        path: its name, such as ``Dense_0/bias``.
        shape: its shape; that of a slice for a slice.
        role: ``"weight"`` if what it first does is multiply, ``"shift"`` if it
            first adds, ``"statistic"`` if it is a running statistic,
            ``"frozen"`` if the plan was told to leave it alone, and
            ``"unused"`` if the network does neither with it.
        group: of the layer that it belongs to.
        index: position of the slice, if it is one.
    """

    path: str
    shape: tuple[int, ...]
    role: Role
    group: str
    index: int | None = None

    @property
    def name(self) -> str:
        """The path, with the slice's position: ``Block/kernel[3]``."""
        return self.path if self.index is None else f"{self.path}[{self.index}]"


def leaf_slices(
    path: str, shape: tuple[int, ...], role: Role, length: int | None
) -> list[Leaf]:
    """A leaf, or the slices of a stacked one; not in any group yet."""
    if length is None:
        return [Leaf(path, shape, role, group="")]
    return [Leaf(path, shape[1:], role, group="", index=i) for i in range(length)]


@dataclasses.dataclass(frozen=True, eq=False)
class RescalingPlan:
    """How all leaves of a network follow the scalers of its weights.

    With ``c`` the scalers of the weights, leaf ``i`` is multiplied by
    ``exp(exponents[i] @ log(c))``.  For a chain of dense layers the row of a
    bias has ones up to its own layer: the paper's cumulative scaler.

    A plan is made by :func:`swr_optax.plan_rescaling` from a network or by
    :func:`swr_optax.sequential_plan` from a list.  It holds no arrays of the
    network, prints as a table, and goes to JSON and back.

    Attributes:
        leaves: the parameters, then the running statistics, in tree order.
        weights: position in ``leaves`` of each layer's weight, in network order.
        parameters: how many of the ``leaves`` are parameters.
        exponents: float64, of shape (leaves, layers).
        outputs: names of the network's outputs: their paths in what ``fn``
            returns, or ``"output"`` if there is only one.
        output_exponents: their own exponents, of shape (outputs, layers): under
            the plan output ``k`` is multiplied by
            ``exp(output_exponents[k] @ log(c))``.
        priority: which promise the plan keeps where not both can be kept.
        unmet: what the priority leaves unmet, in words, and which leaves are
            left alone for want of a rule; empty if rescaling preserves the
            network's function up to the outputs' constants and scales it all.
        approximations: where numerical epsilons make that approximate.
    """

    leaves: tuple[Leaf, ...]
    weights: tuple[int, ...]
    parameters: int
    exponents: np.ndarray
    outputs: tuple[str, ...]
    output_exponents: np.ndarray
    priority: Priority = "norms"
    unmet: tuple[str, ...] = ()
    approximations: tuple[str, ...] = ()
    left_alone: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[Leaf, ...]:
        """The weights, in network order; each has a ``path`` and a ``group``."""
        return tuple(self.leaves[i] for i in self.weights)

    @property
    def leaf_paths(self) -> tuple[str, ...]:
        """The path of each leaf, in the order of ``exponents``' rows."""
        return tuple(leaf.name for leaf in self.leaves)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the layers' groups, in order of appearance."""
        return tuple(dict.fromkeys(layer.group for layer in self.layers))

    def to_json(self) -> str:
        """The plan as JSON text; :meth:`from_json` reads it back exactly."""
        fields = dataclasses.asdict(self)
        fields["exponents"] = self.exponents.tolist()
        fields["output_exponents"] = self.output_exponents.tolist()
        return json.dumps(fields, indent=1)

    @classmethod
    def from_json(cls, text: str) -> RescalingPlan:
        """The plan that :meth:`to_json` wrote.

        Raises:
            ValueError: if the text is not that of a plan.
        """
        try:
            fields = json.loads(text)
            leaves = tuple(
                Leaf(**{**leaf, "shape": tuple(leaf["shape"])})
                for leaf in fields.pop("leaves")
            )
            layers = len(fields["weights"])
            return cls(
                leaves=leaves,
                weights=tuple(fields.pop("weights")),
                exponents=np.reshape(fields.pop("exponents"), (-1, layers)),
                output_exponents=np.reshape(
                    fields.pop("output_exponents"), (-1, layers)
                ),
                outputs=tuple(fields.pop("outputs")),
                unmet=tuple(fields.pop("unmet")),
                approximations=tuple(fields.pop("approximations")),
                left_alone=tuple(fields.pop("left_alone", ())),
                **fields,
            )
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ValueError(
                f"text is not a plan that to_json wrote: {error!r}"
            ) from None

    def __str__(self) -> str:
        return "\n".join(_report(self))

    def match_params(self, params: Any) -> list[int | slice | None]:
        """Place in ``leaves`` of each parameter, in tree order.

        A stacked parameter has a slice of places, and a masked-out node None.

        Raises:
            ValueError: if these are not the parameters that the plan is for.
            TypeError: if a parameter is not of a floating-point type.
        """
        for path, leaf in _paths.named_leaves(params):
            if not _paths.is_masked(leaf):
                check_inexact(path, leaf)
        return self._match(params, range(self.parameters), "params")

    def match_statistics(self, stats: Any) -> list[int | slice | None]:
        """Place in ``leaves`` of each running statistic, in tree order.

        Raises:
            ValueError: if these are not the statistics that the plan is for.
        """
        return self._match(stats, range(self.parameters, len(self.leaves)), "stats")

    def _match(self, tree: Any, rows: range, what: str) -> list[int | slice | None]:
        expected: dict[str, int | slice] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        for row in rows:
            leaf = self.leaves[row]
            if leaf.index is None:
                expected[leaf.path], shapes[leaf.path] = row, leaf.shape
            else:
                expected[leaf.path] = slice(row - leaf.index, row + 1)
                shapes[leaf.path] = (leaf.index + 1, *leaf.shape)
        given = _paths.named_leaves(tree)
        masked = [path for path, leaf in given if _paths.is_masked(leaf)]
        present = {path for path, _ in given}
        missing = [
            path
            for path in expected
            if path not in present
            and not any(_paths.is_below(path, place) for place in masked)
        ]
        surplus = sorted(present - {*masked} - {*expected})
        if missing or surplus:
            raise ValueError(
                f"{what} do not fit the plan: missing {', '.join(missing) or 'none'};"
                f" surplus {', '.join(surplus) or 'none'}: make a plan for this network"
            )
        matched: list[int | slice | None] = []
        for path, value in given:
            masked_out = _paths.is_masked(value)
            matched.append(None if masked_out else expected[path])
            if not masked_out and jnp.shape(value) != shapes[path]:
                raise ValueError(
                    f"{what} do not fit the plan: {path} has shape {jnp.shape(value)},"
                    f" not {shapes[path]}: make a plan for this network"
                )
        return matched


def check_inexact(path: str, value: Any) -> None:
    """Refuses a parameter that a factor near one would not change.

    Raises:
        TypeError: if the parameter is not of a floating-point type.
    """
    dtype = jax.dtypes.result_type(value)
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise TypeError(
            f"parameter {path} has dtype {dtype}, which cannot be rescaled: give"
            " it to fn as an input or as part of stats"
        )


SOLE_OUTPUT = "output"
"""Name of the output of a network that returns one array."""


MOST_FOLLOWERS = 8
"""How many of a layer's followers the printed table names."""


# The printed table.


def _report(plan: RescalingPlan) -> list[str]:
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
        more = len(followers) - MOST_FOLLOWERS
        if more > 1:  # Then the strongest.
            # What differs by rounding only keeps the leaves' order.
            strongest = sorted(powers, key=lambda power: -round(abs(power[1]), 6))
            followers = _with_powers(strongest)
            followers[MOST_FOLLOWERS:] = [f"and {more} more"]
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
        ("approximate", plan.approximations),
        ("unmet", plan.unmet),
    ):
        lines += [f"{title}: {word}" for word in words]
    return lines


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

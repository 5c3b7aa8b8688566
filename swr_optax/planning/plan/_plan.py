"""The plan: which parameters scale with which, and by what power."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from swr_optax.planning.plan import _paths, _plan_json, _plan_table
from swr_optax.planning.plan._leaf import Leaf, check_inexact
from swr_optax.planning.plan._priority import Priority
from swr_optax.planning.plan._shown import listed
from swr_optax.planning.plan._units import Units


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
        approximations: where numerical epsilons, guards of norms or short types make
            that approximate.
        left_alone: a sentence for each parameter that influences an output and
            is never scaled: its name and the reason.
        units: the layers of hidden units, in network order, as far as they can be
            followed: none in a ``while``, a branch or a ``shard_map``, in a loop
            that picks its layers by number, in front of a grouped convolution of
            one network, with weights that are tied across a nonlinearity, with
            outgoing weights whose zeros would be no numbers, as where each unit's
            are divided by their own norm, or with parameters that are excluded.
            Layers of a stack and members of an ensemble have units of their own,
            unless these meet.  A plan that was written by hand has none.
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
    units: tuple[Units, ...] = ()

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
        return _plan_json.to_text(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RescalingPlan:
        """The plan that :meth:`to_json` wrote.

        Example:
            >>> import jax.numpy as jnp, swr_optax
            >>> plan = swr_optax.sequential_plan({"w": jnp.ones((4, 2))}, ["w"])
            >>> swr_optax.RescalingPlan.from_json(plan.to_json()).leaf_paths
            ('w',)

        Raises:
            ValueError: if the text is not that of a plan; in one line that says
                what is wrong with it.
        """
        return cls(**_plan_json.fields_of(text))

    def __str__(self) -> str:
        return _plan_table.table(self)

    def match_params(
        self, params: Any, *, split: bool = False
    ) -> list[int | slice | None]:
        """Place in ``leaves`` of each parameter, in tree order.

        A stacked parameter has a slice of places, and a masked-out node None.

        Args:
            params: the parameters that the plan is for.
            split: whether a parameter may be one of several equal parts, as inside
                :func:`jax.shard_map`.

        Raises:
            ValueError: if these are not the parameters that the plan is for.
            TypeError: if a parameter is not of a floating-point type.
        """
        for path, leaf in _paths.named_leaves(params):
            if not _paths.is_masked(leaf):
                check_inexact(path, leaf)
        return self._match(params, range(self.parameters), "params", split)

    def match_statistics(self, stats: Any) -> list[int | slice | None]:
        """Place in ``leaves`` of each running statistic, in tree order.

        Raises:
            ValueError: if these are not the statistics that the plan is for.
        """
        return self._match(stats, range(self.parameters, len(self.leaves)), "stats")

    def _match(
        self, tree: Any, rows: range, what: str, split: bool = False
    ) -> list[int | slice | None]:
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
                f"{what} do not fit the plan: missing {listed(missing)};"
                f" surplus {listed(surplus)}: make a plan for this network"
            )
        matched: list[int | slice | None] = []
        for path, value in given:
            masked_out = _paths.is_masked(value)
            matched.append(None if masked_out else expected[path])
            if masked_out or jnp.shape(value) == shapes[path]:
                continue
            if split and _is_part(jnp.shape(value), shapes[path], matched[-1]):
                continue
            raise ValueError(
                f"{what} do not fit the plan: {path} has shape {jnp.shape(value)},"
                f" not {shapes[path]}: make a plan for this network"
            )
        return matched


def _is_part(
    shape: tuple[int, ...], whole: tuple[int, ...], place: int | slice | None
) -> bool:
    """Whether a shape is that of one of several equal parts; slices stay whole."""
    if isinstance(place, slice) and shape[:1] != whole[:1]:
        return False
    return len(shape) == len(whole) and all(
        part and size % part == 0 for part, size in zip(shape, whole, strict=True)
    )

"""How every value of a network scales when its leaves are scaled.

Multiply leaf ``i`` of a network's variables by ``exp(s[i])``.  Each value that
the network computes is then multiplied by ``exp(d @ s)`` for some vector ``d``,
its *degree*, as long as some linear equations ``K @ s = 0`` hold.  Walking the
network's jaxpr once finds both: a leaf starts with a unit vector, data with
zero, and a table (``_rules.py``) says what each primitive makes of its operands'
degrees and what it demands of them.

Nothing is computed and nothing is known about layers: the paper's rules for
biases and normalisation layers come out of the arithmetic.

A leaf that a scan over blocks takes apart is one leaf for each slice here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
from pathlib import PurePath
from typing import Any, Literal, NamedTuple

from jax.extend import core
import jax.numpy as jnp
import numpy as np

from swr_optax.planning._paths import module_of

Degree = np.ndarray
"""A float64 vector with one exponent for each leaf."""

Role = Literal["weight", "shift", "statistic", "frozen", "unused"]
"""What a leaf is to the network; see :class:`swr_optax.RescalingPlan`."""

Kind = Literal["exact", "unknown", "approximate"]
"""What a requirement is to the plan; see :class:`Requirement`."""

JAX_NN = ("jax", "_src", "nn", "functions.py")
"""The file that defines activations."""

LARGEST_CONSTANT = 1 << 16
"""Constant arrays with more elements are not looked into."""


class Value(NamedTuple):
    """What the walk knows about one value of the network.

    Attributes:
        degree: the exponents with which the leaves' scalers act on it.
        data: whether it depends on the network's inputs.
        leaves: what it is made of, as long as no data are among it.
        layer: which weight, counted in network order, acted on it last (or -1).
        constant: the number that it holds everywhere, where that is known.
        rank: its number of dimensions, as the equation at hand finds it.
    """

    degree: Degree
    data: bool = False
    leaves: frozenset[int] = frozenset()
    layer: int = -1
    constant: float | None = None
    rank: int = 0


@dataclasses.dataclass(frozen=True)
class Requirement:
    """One row of K: ``row @ s`` must be zero, or else what ``words`` say.

    Attributes:
        row: the coefficients, one for each leaf.
        kind: ``"exact"`` rows decide the scalers, and ``"unknown"`` ones, which
            stand for primitives without a rule, do too but are always reported.
            ``"approximate"`` rows decide nothing: they tell where a small
            constant makes a rule inexact.
        words: where in the network this comes from, for the plan's report.
    """

    row: Degree
    kind: Kind
    words: str


Rule = Callable[["Walk", core.JaxprEqn, Sequence[Value]], Degree]


@dataclasses.dataclass
class Walk:
    """One abstract run through a jaxpr; filled in as the run goes along.

    Attributes:
        paths: name of each leaf.
        roles: role of each leaf; running statistics and frozen leaves from the
            start, the others when they are first used.
        scaled: for each leaf whether it may be scaled; if not (a counter, a
            frozen parameter) it is a constant of degree zero.
        told: roles that the user gives, whatever the leaves' first use.
        requirements: the rows of K, in network order.
        weights: the leaves that are weights, in network order.
        ranks: number of dimensions of the data that a leaf first acts on.
        layers: for a leaf that is not a weight, the position in ``weights`` of
            the layer that it belongs to (-1: it comes before all of them).
        moments: at which equation a weight first acts; layers side by side act
            at the same.
        calls: names of the functions that the run is inside of.
        eqn: the equation at hand.
        moment: how many equations have been met.
    """

    paths: Sequence[str]
    roles: dict[int, Role]
    scaled: Sequence[bool]
    told: Mapping[int, Role] = dataclasses.field(default_factory=dict)
    requirements: list[Requirement] = dataclasses.field(default_factory=list)
    weights: list[int] = dataclasses.field(default_factory=list)
    ranks: dict[int, int] = dataclasses.field(default_factory=dict)
    layers: dict[int, int] = dataclasses.field(default_factory=dict)
    moments: dict[int, int] = dataclasses.field(default_factory=dict)
    calls: list[str] = dataclasses.field(default_factory=list)
    eqn: core.JaxprEqn | None = None
    moment: int = 0

    def __post_init__(self) -> None:
        self.statistics = [i for i, r in self.roles.items() if r == "statistic"]
        self.zero = np.zeros(len(self.paths))
        units = np.diag(np.asarray(self.scaled, np.float64))
        self.leaves = [Value(u, leaves=frozenset([i])) for i, u in enumerate(units)]

    def constant(self, value: Any) -> Value:
        """The value of a literal or of an array that the network closes over."""
        number = None
        numeric = jnp.issubdtype(jnp.result_type(value), jnp.number)
        if numeric and 0 < np.size(value) <= LARGEST_CONSTANT:
            array = np.asarray(value)
            first = array.flat[0]
            if np.array_equal(array, np.full_like(array, first), equal_nan=True):
                number = float(np.real(first))
        return Value(self.zero, constant=number)

    # What the rules tell the walk.

    def require(
        self,
        row: Degree,
        words: str,
        kind: Kind = "exact",
    ) -> None:
        """Demands ``row @ s == 0``."""
        if row.any():
            self.requirements.append(Requirement(row, kind, words + self._place()))

    def _place(self) -> str:
        names = [*self.calls, *([_jax_nn_function(self.eqn)] if self.eqn else [])]
        name = next((name for name in reversed(names) if name), None)
        return f" (in {name.strip('_')})" if name else ""

    def multiplies(self, value: Value, other: Value) -> None:
        """Notes that leaves may meet the data first in a product."""
        if other.data:
            for leaf in sorted(value.leaves):
                self.ranks.setdefault(leaf, other.rank)
                self._meets(leaf, "weight", self.layer_of(other))

    def adds(self, value: Value, others: Sequence[Value]) -> None:
        """Notes that leaves may meet the data first in a sum."""
        met = [self.layer_of(other) for other in others if other.data]
        for leaf in sorted(value.leaves) if met else ():
            self._meets(leaf, "shift", max(met))

    def _meets(self, leaf: int, role: Role, layer: int) -> None:
        if leaf not in self.roles:
            self.roles[leaf] = self.told.get(leaf, role)
            if self.roles[leaf] == "weight":
                self.weights.append(leaf)
                self.moments[leaf] = self.moment
        if self.roles[leaf] != "weight":
            self.layers.setdefault(leaf, layer)

    def layer_of(self, value: Value) -> int:
        """Position of the weight that acted on a value last, or is in it."""
        positions = [
            self.weights.index(leaf)
            for leaf in value.leaves
            if self.roles.get(leaf) == "weight"
        ]
        return max(positions, default=value.layer)

    def name(self, value: Value) -> str:
        """A value in words."""
        if value.leaves:
            return " with ".join(self.paths[leaf] for leaf in sorted(value.leaves))
        if value.layer >= 0:
            return module_of(self.paths[self.weights[value.layer]])
        if value.constant is not None:
            return f"the number {value.constant:g}"
        return "the input" if value.data else "a constant"


def is_neutral(value: Value) -> bool:
    """Whether a value is its own multiple: zero, infinite or undefined."""
    number = value.constant
    return number is not None and (number == 0 or not math.isfinite(number))


def _jax_nn_function(eqn: core.JaxprEqn) -> str:
    """The activation that an equation is part of: jaxprs do not keep all names."""
    traceback = getattr(eqn.source_info, "traceback", None)
    names = [
        frame.function_name
        for frame in (traceback.frames if traceback else ())
        if PurePath(frame.file_name).parts[-4:] == JAX_NN
    ]
    return names[-1] if names else ""

"""What one abstract run through a network finds out, beside the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
from pathlib import PurePath
from typing import Literal

from jax.extend import core
import numpy as np

from swr_optax.planning.degrees._numbers import only_number
from swr_optax.planning.degrees._places import (
    LayerAxes,
    axes_in_choice,
    axes_in_product,
    axes_in_sum,
)
from swr_optax.planning.degrees._stack_evidence import StackEvidence
from swr_optax.planning.degrees._values import (
    Degree,
    Kind,
    Place,
    Requirement,
    Value,
)

Role = Literal["weight", "shift", "statistic", "frozen", "unused"]
"""What a leaf is to the network; see :class:`swr_optax.RescalingPlan`."""

JAX_NN = ("jax", "_src", "nn", "functions.py")
"""The file that defines activations."""


@dataclasses.dataclass
class Walk:
    """Filled in as a run through a jaxpr goes along.

    A leaf is a weight if it ever meets the data in a product, and a shift if it
    only meets them in sums.  What counts is how the leaf meets *data*, however
    it was selected, concatenated, summed with other parameters or multiplied by
    them before that.

    Attributes:
        paths: name of each leaf.
        roles: role of each leaf; running statistics and frozen leaves from the
            start, the others when they first meet the data.
        scaled: for each leaf whether it may be scaled; if not (a counter, a
            frozen parameter) it is a constant of degree zero.
        told: roles that the user gives, whatever the leaves do.
        noise_is_data: whether random bits count as data, as they must in a
            network that has no other input.
        requirements: the rows of K, in network order.
        weights: the leaves that are weights, in network order.
        ranks: number of dimensions of the data that a weight first acts on.
        layers: for a leaf that is not a weight, the position in ``weights`` of
            the layer that it belongs to (-1: it comes before all of them).
        axes: which axes of a weight or shift are its layer's inputs and outputs.
        moments: at which equation a weight first acts; layers side by side act
            at the same.
        calls: names of the functions that the run is inside of.
        eqn: the equation at hand.
        moment: how many equations have been met.
        stacks: evidence on which leaves are stacks of layers.
    """

    paths: Sequence[str]
    roles: dict[int, Role]
    scaled: Sequence[bool]
    told: Mapping[int, Role] = dataclasses.field(default_factory=dict)
    noise_is_data: bool = False
    requirements: list[Requirement] = dataclasses.field(default_factory=list)
    weights: list[int] = dataclasses.field(default_factory=list)
    ranks: dict[int, int] = dataclasses.field(default_factory=dict)
    layers: dict[int, int] = dataclasses.field(default_factory=dict)
    axes: dict[int, LayerAxes] = dataclasses.field(default_factory=dict)
    moments: dict[int, int] = dataclasses.field(default_factory=dict)
    calls: list[str] = dataclasses.field(default_factory=list)
    eqn: core.JaxprEqn | None = None
    moment: int = 0

    def __post_init__(self) -> None:
        self.statistics = [i for i, r in self.roles.items() if r == "statistic"]
        self.zero = np.zeros(len(self.paths))
        units = np.diag(np.asarray(self.scaled, np.float64))
        self.leaves = [
            Value(unit, leaves=frozenset([i]), influences=1 << i)
            for i, unit in enumerate(units)
        ]
        self.stacks = StackEvidence(len(self.paths))
        self._used_as_data: frozenset[int] = frozenset()
        self._first_axes: dict[int, LayerAxes] = {}
        self._looked_up: dict[int, tuple[int, int]] = {}
        self._known: set[tuple[bytes, Kind, str]] = set()

    # Requirements.

    def require(
        self, row: Degree, words: str, kind: Kind = "exact", first: bool = False
    ) -> None:
        """Demands ``row @ s == 0``."""
        self.settle(self.requirement(row, words, kind, first))

    def requirement(
        self, row: Degree, words: str, kind: Kind = "exact", first: bool = False
    ) -> Requirement:
        """The demand that ``row @ s == 0``, not made yet."""
        return Requirement(row, kind, words + self._where(), first)

    def settle(self, requirement: Requirement) -> None:
        """Notes a requirement, unless it is no news."""
        key = requirement.row.tobytes(), requirement.kind, requirement.words
        if requirement.row.any() and key not in self._known:
            self._known.add(key)
            self.requirements.append(requirement)

    def settled(self, value: Value) -> Value:
        """A value whose small constants are no epsilons, for all that is known."""
        for epsilon in value.epsilons:
            self.settle(epsilon.exact)
        return value._replace(epsilons=())

    def _where(self) -> str:
        names = [*self.calls, *([_jax_nn_function(self.eqn)] if self.eqn else [])]
        name = next((name for name in reversed(names) if name), None)
        return f" (in {name.strip('_')})" if name else ""

    # Roles.

    def is_data(self, value: Value) -> bool:
        """Whether a value is data, or used as data are though made of leaves."""
        return value.data or not self._used_as_data.isdisjoint(value.chosen)

    def as_data(self, value: Value) -> Value:
        """A value that is used as data are, as data."""
        if value.data or not self.is_data(value):
            return value
        nothing = frozenset[int]()
        layer = self.layer_of(value)
        return value._replace(data=True, leaves=nothing, chosen=nothing, layer=layer)

    def multiply(self, left: Value, right: Value) -> None:
        """Notes that leaves may meet the data in a product."""
        if not (self.is_data(left) or self.is_data(right)):
            # Tables multiplied by each other may be parts of one weight still.
            related = not left.leaves.isdisjoint(right.leaves)
            if left.leaves and right.leaves:
                if related or not right.chosen:
                    self.use_as_data(left)
                if related or not left.chosen:
                    self.use_as_data(right)
        for k, (value, other) in enumerate(((left, right), (right, left))):
            if self.is_data(other) and not self.is_data(value):
                for leaf in sorted(value.leaves):
                    axes = axes_in_product(self.eqn, k, value, leaf)
                    self._meets(leaf, "weight", other, axes)

    def add(self, values: Sequence[Value]) -> None:
        """Notes that leaves may meet the data in a sum."""
        data = [value for value in values if self.is_data(value)]
        if data:
            latest = max(data, key=self.layer_of)
            for value in values:
                if not self.is_data(value):
                    for leaf in sorted(value.leaves):
                        self._meets(
                            leaf, "shift", latest, axes_in_sum(self.eqn, value, leaf)
                        )
        elif any(value.chosen for value in values):
            for value in values:
                for leaf in value.leaves - value.chosen:
                    self._first_axes.setdefault(
                        leaf, axes_in_sum(self.eqn, value, leaf)
                    )

    def choose(
        self, before: Sequence[Place], after: Sequence[Place], rank: int
    ) -> None:
        """Notes that data choose among the entries of a table made of leaves.

        Args:
            before: places in the table.
            after: places in what was chosen from it.
            rank: number of dimensions of the data that would choose the same in a
                product with the table.
        """
        for leaf, axes in axes_in_choice(before, after).items():
            self._first_axes.setdefault(leaf, axes)
            self._looked_up.setdefault(leaf, (self.moment, rank))

    def use_as_data(self, value: Value) -> None:
        """Notes that what data chose is used as data are.

        What is looked up is a weight, as a table of embeddings is, and what was
        added to it since is a shift.
        """
        if value.chosen and not self.is_data(value):
            for leaf in sorted(value.leaves):
                role: Role = "weight" if leaf in value.chosen else "shift"
                axes = self._first_axes.get(leaf) or axes_in_sum(self.eqn, value, leaf)
                self._meets(leaf, role, value, axes)
            self._used_as_data |= value.chosen

    def _meets(self, leaf: int, role: Role, data: Value, axes: LayerAxes) -> None:
        role = self.told.get(leaf, role)
        before = self.roles.get(leaf)
        if before is None or (before, role) == ("shift", "weight"):
            self.roles[leaf] = role
            self.axes[leaf] = axes if role == "weight" else axes._replace(inputs=())
            if role == "weight":
                self.weights.append(leaf)
                # A table that is looked up acts there, not where it is used as data.
                at = self._looked_up.get(leaf, (self.moment, data.rank))
                self.moments[leaf], self.ranks[leaf] = at
                self.layers.pop(leaf, None)
        if self.roles[leaf] != "weight":
            self.layers.setdefault(leaf, self.layer_of(data))

    def layer_of(self, value: Value) -> int:
        """Position of the weight that acted on a value last, or is in it."""
        positions = [
            self.weights.index(leaf)
            for leaf in value.leaves
            if self.roles.get(leaf) == "weight"
        ]
        return max(positions, default=value.layer)

    # Words.

    def name(self, value: Value) -> str:
        """A value in words."""
        value = self.as_data(value)
        if value.leaves:
            return " with ".join(self.paths[leaf] for leaf in sorted(value.leaves))
        if value.layer >= 0:
            return _module_of(self.paths[self.weights[value.layer]])
        number = only_number(value.numbers)
        if number is not None:
            return f"the number {number:g}"
        return "the input" if value.data else "a constant"


def _module_of(path: str) -> str:
    """Path without its last part: ``Block[3]`` for ``Block/kernel[3]``."""
    module, _, name = path.rpartition("/")
    _, bracket, index = name.partition("[")
    return module + bracket + index if module else name


def _jax_nn_function(eqn: core.JaxprEqn) -> str:
    """The activation that an equation is part of: jaxprs do not keep all names."""
    traceback = getattr(eqn.source_info, "traceback", None)
    names = [
        frame.function_name
        for frame in (traceback.frames if traceback else ())
        if PurePath(frame.file_name).parts[-4:] == JAX_NN
    ]
    return names[-1] if names else ""

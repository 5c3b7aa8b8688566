"""Which leaves hold the parameters of several layers, a slice for each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from jax.extend import core

from swr_optax.planning.degrees._numbers import only_number
from swr_optax.planning.degrees._slices import SliceAxis, shape_of, taken
from swr_optax.planning.degrees._values import Known, Value


class StackEvidence:
    """What speaks for and against leaves being stacks of layers.

    Such leaves come from a scan over blocks, which takes them apart, or from a
    ``vmap`` over parameters, which multiplies them slice by slice.  Only stacks
    of matrices count as evidence: a scan over steps of time takes vectors apart,
    and an elementwise gain has one number for each feature.  The other leaves of
    the same layers, such as biases, are known by meeting the evidence along the
    same axis.  An axis that a product with parameters adds up holds features,
    and one in which the data look things up holds a vocabulary.

    Whether a leaf counts as one layer or as several decides how many norms are
    kept; the plan is right either way.
    """

    SMALLEST_RANK = 3
    """Of a stack of matrices."""

    def __init__(self, leaves: int) -> None:
        self._same_as = list(range(leaves))
        self._for: set[int] = set()
        self._against: set[int] = set()
        self._taken: dict[int, list[tuple[int, int]]] = {}

    def unite(
        self, axes: Iterable[tuple[SliceAxis, int]]
    ) -> tuple[tuple[SliceAxis, int], ...]:
        """Leaves whose first axes are found in one place have one axis."""
        united: dict[SliceAxis, int] = {}
        for along, leaf in axes:
            other = self._root(united.setdefault(along, leaf))
            self._same_as[self._root(leaf)] = other
        return tuple(
            sorted((along, self._root(leaf)) for along, leaf in united.items())
        )

    def _multiplied_apart(self, leaves: Iterable[int]) -> None:
        """Evidence for: a product keeps these leaves' first axes apart."""
        self._for.update(leaves)

    def _added_up(self, leaves: Iterable[int]) -> None:
        """Evidence against: a product or a lookup mixes their first axes."""
        self._against.update(leaves)

    def _taken_apart(self, leaves: Iterable[int], length: int, rank: int) -> None:
        """Evidence for, if any of so many slices is a matrix."""
        self._taken.setdefault(length, []).extend((leaf, rank) for leaf in leaves)

    def weigh(self, eqn: core.JaxprEqn, operands: Sequence[Known]) -> None:
        """Notes what an equation says of which leaves are stacks of layers."""
        values = [value for value in operands if isinstance(value, Value)]
        if len(values) < len(operands) or not any(value.axes for value in values):
            return
        shapes = [shape_of(atom) for atom in eqn.invars]

        def found(k: int, axes: Sequence[int]) -> list[int]:
            """Leaves whose first axis is, as a whole, one of these of an operand."""
            return [
                leaf
                for along, leaf in values[k].axes
                if along.axis in axes and shapes[k][along.axis] == along.length
            ]

        match eqn.primitive.name:
            case "dot_general":
                contracting, _ = eqn.params["dimension_numbers"]
                for k, axes in enumerate(contracting):
                    if not all(value.data for value in values):
                        self._added_up(found(k, axes))
                    apart = [axis for axis in range(len(shapes[k])) if axis not in axes]
                    data = values[k].data or values[k].chosen
                    if not data and len(shapes[k]) >= self.SMALLEST_RANK:
                        self._multiplied_apart(found(k, apart))
            case "conv_general_dilated":
                numbers = eqn.params["dimension_numbers"]
                if eqn.params["feature_group_count"] == 1:
                    self._added_up(found(0, [numbers.lhs_spec[1]]))
                    self._added_up(found(1, [numbers.rhs_spec[1]]))
                # A batch of kernels was merged into their features, as `vmap` does.
                self._multiplied_apart(
                    leaf
                    for along, leaf in values[1].axes
                    if along.axis == numbers.rhs_spec[0] and along.inner > 1
                )
            case "gather":
                if not all(value.data for value in values):
                    looked_up = eqn.params["dimension_numbers"].collapsed_slice_dims
                    self._added_up(found(0, looked_up))
            case "slice" | "split" | "unstack" | "dynamic_slice":
                if values[0].data:
                    return
                starts = [only_number(value.numbers) for value in values[1:]]
                for along, leaf in values[0].axes:
                    ranges = taken(eqn, along, starts)
                    if ranges and all(len(indices) == 1 for indices in ranges):
                        self._taken_apart([leaf], along.length, len(shapes[0]))

    def weigh_scan(self, eqn: core.JaxprEqn, operands: Sequence[Known]) -> None:
        """What a scan takes apart may be stacks of layers."""
        length = eqn.params["length"]
        first = eqn.params["num_consts"] + eqn.params["num_carry"]
        for known, atom in zip(operands[first:], eqn.invars[first:], strict=True):
            if isinstance(known, Value) and not known.data:
                leaves = [leaf for at, leaf in known.axes if at == SliceAxis(0, length)]
                self._taken_apart(leaves, length, len(shape_of(atom)))

    def found(self, used: Collection[int]) -> Collection[int]:
        """The leaves that are stacks of layers, according to all of this.

        Args:
            used: the leaves that influence an output.  The others are no stacks and
                say nothing of these: the same network without them is no other.
        """
        evidence = set(self._for)
        for of_one_length in self._taken.values():
            apart = [(leaf, rank) for leaf, rank in of_one_length if leaf in used]
            if any(rank >= self.SMALLEST_RANK for _, rank in apart):
                evidence.update(leaf for leaf, _ in apart)
        stacks = {self._root(leaf) for leaf in evidence}
        stacks -= {self._root(leaf) for leaf in self._against}
        return [leaf for leaf in used if self._root(leaf) in stacks]

    def _root(self, leaf: int) -> int:
        while self._same_as[leaf] != leaf:
            leaf = self._same_as[leaf]
        return leaf

"""Which leaves hold the parameters of several layers, a slice for each.

Such leaves come from a scan over blocks, which takes them apart, or from a
``vmap`` over parameters, which multiplies them slice by slice.  Only stacks of
matrices count as evidence: a scan over steps of time takes vectors apart, and an
elementwise gain has one number for each feature.  The other leaves of the same
layers, such as biases, are known by meeting the evidence along the same axis.
An axis that a product with parameters adds up holds features, whatever else is
done with it, and one in which the data look things up holds a vocabulary.

Whether a leaf counts as one layer or as several decides how many norms are
kept; the plan is right either way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
import dataclasses
from typing import Any

from jax.extend import core

from swr_optax.planning.degrees._jaxpr_walk import INNER
from swr_optax.planning.degrees._slices import Place, follow, shape_of

SMALLEST_RANK = 3
"""Of a stack of matrices."""


@dataclasses.dataclass(frozen=True)
class _Traced:
    """Leaves whose first axis is found in a value, and whether data are in it."""

    places: dict[Place, int]
    data: bool


_NOTHING = _Traced({}, data=False)


class _Search:
    """One run through a jaxpr that gathers what speaks for stacks and against."""

    def __init__(self, leaves: int) -> None:
        self.same_as = list(range(leaves))
        self.stacks: set[int] = set()
        self.features: set[int] = set()

    def root(self, leaf: int) -> int:
        while self.same_as[leaf] != leaf:
            leaf = self.same_as[leaf]
        return leaf

    def unite(self, places: Iterable[tuple[Place, int]]) -> dict[Place, int]:
        """What is in one place has one axis."""
        united: dict[Place, int] = {}
        for place, leaf in places:
            other = self.root(united.setdefault(place, leaf))
            self.same_as[self.root(leaf)] = other
        return united

    def meet(self, values: Sequence[_Traced]) -> _Traced:
        places = (item for value in values for item in value.places.items())
        return _Traced(self.unite(places), any(value.data for value in values))

    def run(self, jaxpr: Any, args: Sequence[_Traced]) -> list[_Traced]:
        jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
        known: dict[core.Var, _Traced] = dict(zip(jaxpr.invars, args, strict=True))

        def read(atom: core.Var | core.Literal) -> _Traced:
            if isinstance(atom, core.Literal):
                return _NOTHING
            return known.get(atom, _NOTHING)

        for eqn in jaxpr.eqns:
            results = self.apply(eqn, [read(atom) for atom in eqn.invars])
            known.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def apply(self, eqn: core.JaxprEqn, operands: list[_Traced]) -> list[_Traced]:
        name = eqn.primitive.name
        if name in INNER:
            return self.run(eqn.params[INNER[name]], operands)
        if name == "scan":
            return self.scan(eqn, operands)
        if name == "cond":
            branches = [self.run(b, operands[1:]) for b in eqn.params["branches"]]
            return [self.meet(values) for values in zip(*branches, strict=True)]
        if name == "while":
            consts = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
            return self.loop(
                eqn.params["body_jaxpr"],
                operands[consts[0] : sum(consts)],
                operands[sum(consts) :],
                [],
            )
        self.weigh(eqn, operands)
        found = [
            (after, leaf)
            for k, value in enumerate(operands)
            for place, leaf in value.places.items()
            if (after := follow(eqn, k, place)) is not None
        ]
        result = _Traced(self.unite(found), any(value.data for value in operands))
        return [result] * len(eqn.outvars)

    def weigh(self, eqn: core.JaxprEqn, operands: list[_Traced]) -> None:
        """Multiplied slice by slice is evidence; added up or looked up, features."""
        apart: Sequence[Collection[int]] = ()
        together: Sequence[Collection[int]] = ()
        ranks = [len(shape_of(atom)) for atom in eqn.invars]
        if eqn.primitive.name == "dot_general":
            together = eqn.params["dimension_numbers"][0]
            apart = tuple(
                {*range(rank)} - {*axes}
                for rank, axes in zip(ranks, together, strict=True)
            )
        elif eqn.primitive.name == "conv_general_dilated":
            numbers = eqn.params["dimension_numbers"]
            if eqn.params["feature_group_count"] > 1:
                apart = (), [numbers.rhs_spec[0]]
            else:
                together = [numbers.lhs_spec[1]], [numbers.rhs_spec[1]]
        elif eqn.primitive.name == "gather":
            together = eqn.params["dimension_numbers"].collapsed_slice_dims, ()
        for k, axes in enumerate(together):
            if not all(value.data for value in operands):
                self.features.update(_along(operands[k], axes, eqn.invars[k]))
        for k, axes in enumerate(apart):
            if not operands[k].data and ranks[k] >= SMALLEST_RANK:
                self.stacks.update(_along(operands[k], axes, eqn.invars[k]))

    def scan(self, eqn: core.JaxprEqn, operands: list[_Traced]) -> list[_Traced]:
        first = eqn.params["num_consts"]
        second = first + eqn.params["num_carry"]
        apart = Place(0, eqn.params["length"])
        taken = [
            (value.places[apart], len(shape_of(atom)))
            for value, atom in zip(operands[second:], eqn.invars[second:], strict=True)
            if apart in value.places and not value.data
        ]
        if any(rank >= SMALLEST_RANK for _, rank in taken):
            self.stacks.update(leaf for leaf, _ in taken)
        results = self.loop(
            eqn.params["jaxpr"],
            operands[:first],
            operands[first:second],
            [_moved(value, -1) for value in operands[second:]],
        )
        carries = eqn.params["num_carry"]
        return results[:carries] + [_moved(value, 1) for value in results[carries:]]

    def loop(
        self,
        body: Any,
        consts: Sequence[_Traced],
        carry: Sequence[_Traced],
        xs: Sequence[_Traced],
    ) -> list[_Traced]:
        """What one round brings into the carry goes through a second."""
        carry = [_Traced(value.places, data=True) for value in carry]
        for _ in range(2):
            results = self.run(body, [*consts, *carry, *xs])
            carry = [
                self.meet(pair)
                for pair in zip(carry, results[: len(carry)], strict=True)
            ]
        return [*carry, *results[len(carry) :]]


def _along(value: _Traced, axes: Collection[int], atom: Any) -> list[int]:
    """Leaves whose first axis is, as a whole, one of these axes of a value."""
    return [
        leaf
        for place, leaf in value.places.items()
        if place.axis in axes and shape_of(atom)[place.axis] == place.length
    ]


def _moved(value: _Traced, by: int) -> _Traced:
    """Without the first axis, or with one in front."""
    places = {
        place._replace(axis=place.axis + by): leaf
        for place, leaf in value.places.items()
        if place.axis + by >= 0
    }
    return _Traced(places, value.data)


def stacked_lengths(jaxpr: core.ClosedJaxpr, leaves: int) -> dict[int, int]:
    """Leaves that are stacks of layers, and how many slices they have.

    Args:
        jaxpr: of a network; its first arguments are the leaves.
        leaves: how many they are.
    """
    search = _Search(leaves)
    shapes = [shape_of(var) for var in jaxpr.jaxpr.invars]
    args = [
        _Traced({Place(0, shape[0]): i} if shape else {}, data=False)
        for i, shape in enumerate(shapes[:leaves])
    ]
    args += [_Traced({}, data=True)] * (len(shapes) - leaves)
    search.run(jaxpr, args)
    stacks = {search.root(leaf) for leaf in search.stacks}
    stacks -= {search.root(leaf) for leaf in search.features}
    return {i: shapes[i][0] for i in range(leaves) if search.root(i) in stacks}

"""What is known of one value of a network: its degree and where it comes from.

Multiply leaf ``i`` of a network's variables by ``exp(s[i])``.  Each value that
the network computes is then multiplied by ``exp(d @ s)`` for some vector ``d``,
its *degree*, as long as some linear equations ``K @ s = 0`` hold.  A leaf starts
with a unit vector and data with zero; the table of primitives says the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from swr_optax.planning.degrees._numbers import Numbers, is_scale_free
from swr_optax.planning.degrees._slices import SliceAxis

Degree: TypeAlias = np.ndarray
"""A float64 vector with one exponent for each leaf."""

Kind = Literal["exact", "unknown", "approximate"]
"""What a requirement is to the plan; see :class:`Requirement`."""


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
        first: whether it says what a running statistic must follow, which is met
            before other rows where not all can be.
    """

    row: Degree
    kind: Kind
    words: str
    first: bool = False


class Epsilon(NamedTuple):
    """A small constant that was added to a value.

    A variance plus a numerical epsilon goes into a root or a denominator, which
    makes its rule approximate.  If anything else is done with the sum, it is a
    sum like any other.  The same holds for a number that stands for a norm of zero.

    Attributes:
        approximate: what to report if the value goes into a root or a denominator.
        exact: what is required if it does not.
    """

    approximate: Requirement
    exact: Requirement


class Place(NamedTuple):
    """Where an axis of a leaf is found in an array.

    Attributes:
        leaf: the leaf.
        axis: its axis; of a slice for a slice of a stack.
        along: where it is now.  An axis that was split has a place for each part.
    """

    leaf: int
    axis: int
    along: SliceAxis


class Value(NamedTuple):
    """What is known of an array that has one scale.

    Attributes:
        degree: the exponents with which the leaves' scalers act on it.
        data: whether numbers of the network's inputs are in it.
        leaves: the leaves that it is made of, as long as no data are in it.
        chosen: those of them among whose entries the data choose, as in a lookup.
        layer: which weight, counted in network order, acted on it last (or -1).
        depth: the most products with parameters on a way from the data to it.
        numbers: what its entries can be, where that is known.
        usual: what they can be unless a value of parameters alone happens to be zero
            or not finite, where more is known of that.
        positive: whether none of its entries can be below zero.
        influences: the leaves on which it depends in any way, as bits.
        epsilons: small constants in it, of which it is not yet known what they
            are for.
        axes: where the first axes of leaves are found in it.
        places: where the axes of the leaves that it is made of are found in it.
        rank: its number of dimensions, as the equation at hand finds it.
    """

    degree: Degree
    data: bool = False
    leaves: frozenset[int] = frozenset()
    chosen: frozenset[int] = frozenset()
    layer: int = -1
    depth: int = 0
    numbers: Numbers = None
    usual: Numbers = None
    positive: bool = False
    influences: int = 0
    epsilons: tuple[Epsilon, ...] = ()
    axes: tuple[tuple[SliceAxis, int], ...] = ()
    places: tuple[Place, ...] = ()
    rank: int = 0

    @property
    def scale_free(self) -> bool:
        """Whether it is its own multiple: zero, infinite or not a number."""
        return is_scale_free(self.numbers)


class Stack(NamedTuple):
    """An array whose slices have values of their own.

    Attributes:
        slices: their values, in order.
        along: where they lie.
    """

    slices: tuple[Value, ...]
    along: SliceAxis


Known: TypeAlias = Value | Stack
"""What is known of an array."""


def alike(a: Known, b: Known) -> bool:
    """Whether the same is known of two arrays, but for depth, which loops add to."""
    if isinstance(a, Stack) or isinstance(b, Stack):
        return (
            isinstance(a, Stack)
            and isinstance(b, Stack)
            and a.along == b.along
            and all(map(alike, a.slices, b.slices))
        )
    return a is b or (
        np.array_equal(a.degree, b.degree)
        and len(a.epsilons) == len(b.epsilons)
        and a._replace(degree=b.degree, epsilons=b.epsilons, depth=b.depth) == b
    )


def simplest(values: Sequence[Value]) -> Value:
    """The one that stands for all where values of different degrees meet.

    Data come before parameters, since a shift follows the data to which it is
    added, and then the simplest degree and the smallest depth, since a branch of
    a residual network follows the trunk.  The order of values, and of equations,
    does not matter.
    """

    def order(value: Value) -> tuple[object, ...]:
        degree = value.degree
        return not value.data, np.count_nonzero(degree), value.depth, *-degree

    return min(values, key=order)


def influences_of(values: Sequence[Value]) -> int:
    """The leaves on which any of some values depends, as bits."""
    together = 0
    for value in values:
        together |= value.influences
    return together

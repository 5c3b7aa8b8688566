"""What is known of one equation's results, by the entry of its primitive."""

from __future__ import annotations

from collections.abc import Sequence

from jax.extend import core
import jax.numpy as jnp

from swr_optax.planning.degrees._numbers import dtype_of, is_scale_free
from swr_optax.planning.degrees._places import places_in, places_of_results
from swr_optax.planning.degrees._primitives import INDICES_SECOND, Primitive
from swr_optax.planning.degrees._rules import (
    cast,
    keep,
    product,
    quotient,
    reduce_precision,
)
from swr_optax.planning.degrees._slices import SliceAxis
from swr_optax.planning.degrees._values import Value, influences_of
from swr_optax.planning.degrees._walk import Walk

SAME_VALUE = (keep, cast, reduce_precision)
"""Rules of what changes no value, but for rounding."""


def results_of(
    walk: Walk, eqn: core.JaxprEqn, primitive: Primitive, operands: Sequence[Value]
) -> list[Value]:
    """Values of one equation's results, by the entry of its primitive."""
    if eqn.primitive.name == "select_n":
        operands = _possible_cases(operands)
    if primitive.separate:
        results = [_result(walk, eqn, primitive, [value]) for value in operands]
        # The keys of a sort choose where the others' entries go.
        return [chosen_by(walk, operands, value) for value in results]
    result = _result(walk, eqn, primitive, operands)
    if eqn.primitive.name in INDICES_SECOND:
        data = any(_by_data(walk, value) for value in operands)
        influences = result.influences
        return [result, Value(walk.zero, data=data, influences=influences)]
    if eqn.primitive.name == "split":
        return [
            result._replace(places=places_in(eqn, k, result.places))
            for k in range(len(eqn.outvars))
        ]
    return [result] * len(eqn.outvars)


def _result(
    walk: Walk,
    eqn: core.JaxprEqn,
    primitive: Primitive,
    operands: Sequence[Value],
) -> Value:
    """The value of the results that are made of these operands."""
    operands = [
        _with_epsilons_settled(walk, eqn, k, primitive, value)
        for k, value in enumerate(operands)
    ]
    found = primitive.degree(walk, eqn, operands)
    found = found if isinstance(found, Value) else Value(found)
    degree, epsilons, usual = found.degree, found.epsilons, found.usual
    if primitive.degree in SAME_VALUE:
        epsilons = operands[0].epsilons
    contents = operands[primitive.contents]
    choosers = [v for v in operands if not any(v is c for c in contents)]
    positions = range(len(operands))[primitive.contents]
    places = places_of_results(
        eqn, primitive.follow, list(zip(positions, contents, strict=True))
    )
    numbers = primitive.numbers(eqn, [value.numbers for value in contents])
    if any(value.usual for value in contents):
        usual = primitive.numbers(eqn, [v.usual or v.numbers for v in contents])
    data = any(walk.is_data(value) for value in contents)
    leaves = frozenset[int]().union(*(value.leaves for value in contents))
    chosen = frozenset[int]().union(*(value.chosen for value in contents))
    by_data = any(_by_data(walk, value) for value in choosers)
    if primitive.noise:
        inexact = [
            value
            for value, atom in zip(operands, eqn.invars, strict=True)
            if jnp.issubdtype(dtype_of(atom), jnp.inexact)
        ]
        data = walk.noise_is_data or any(_by_data(walk, value) for value in inexact)
        leaves = chosen = frozenset()
    elif primitive.lossy:
        data = data or bool(chosen)
        leaves = chosen = frozenset()
    elif by_data:
        data, chosen = data or not leaves, leaves
        before = [place for value in contents for place in value.places]
        # Indices have an axis for their numbers, as one-hot vectors have for theirs.
        walk.choose(before, places, max(value.rank for value in choosers))
    if is_scale_free(numbers):
        degree, leaves, chosen = walk.zero, frozenset(), frozenset()
    if data:
        leaves = chosen = frozenset()
    return Value(
        degree=degree,
        data=data,
        leaves=leaves,
        chosen=chosen,
        layer=max((walk.layer_of(value) for value in operands), default=-1),
        depth=_depth(walk, primitive, operands),
        numbers=numbers,
        usual=usual,
        positive=jnp.issubdtype(dtype_of(eqn.outvars[0]), jnp.floating)
        and primitive.positive(eqn, [value.positive for value in contents]),
        influences=influences_of(operands),
        epsilons=epsilons,
        axes=_axes_of_results(walk, eqn, primitive, operands),
        places=places if leaves else (),
    )


def _possible_cases(operands: Sequence[Value]) -> list[Value]:
    """The operands of a selection, without cases that are never selected."""
    which, *cases = operands
    if which.numbers is not None:
        possible = [case for i, case in enumerate(cases) if i in which.numbers]
        cases = possible or cases
    return [which, *cases]


def _by_data(walk: Walk, value: Value) -> bool:
    """Whether the data decide what a value is, if only by choosing it."""
    return walk.is_data(value) or bool(value.chosen)


def _depth(walk: Walk, primitive: Primitive, operands: Sequence[Value]) -> int:
    """One more for each product of data and parameters."""
    depth = max((value.depth for value in operands), default=0)
    met = {walk.is_data(value) for value in operands if value.data or value.leaves}
    return depth + (primitive.degree in (product, quotient) and len(met) == 2)


def _with_epsilons_settled(
    walk: Walk, eqn: core.JaxprEqn, k: int, primitive: Primitive, value: Value
) -> Value:
    """An operand whose small constants are now known to be epsilons, or not."""
    if not value.epsilons or primitive.degree in SAME_VALUE:
        return value
    guarded = primitive.guards(eqn, k)
    for epsilon in value.epsilons:
        walk.settle(epsilon.approximate if guarded else epsilon.exact)
    return value._replace(epsilons=())


def with_ranks(values: Sequence[Value], ranks: Sequence[int]) -> list[Value]:
    """Values with their numbers of dimensions."""
    pairs = zip(values, ranks, strict=True)
    return [value._replace(rank=rank) for value, rank in pairs]


def _axes_of_results(
    walk: Walk, eqn: core.JaxprEqn, primitive: Primitive, operands: Sequence[Value]
) -> tuple[tuple[SliceAxis, int], ...]:
    """Where the first axes of leaves are found in the results."""
    followed = [
        (after, leaf)
        for k, value in enumerate(operands)
        for along, leaf in value.axes
        if (after := primitive.follow(eqn, k, along)) is not None
    ]
    return walk.stacks.unite(followed) if followed else ()


def chosen_by(walk: Walk, choosers: Sequence[Value], value: Value) -> Value:
    """A value that others have chosen, if only by deciding whether to compute it."""
    value = value._replace(influences=value.influences | influences_of(choosers))
    if not any(_by_data(walk, chooser) for chooser in choosers):
        return value
    return value._replace(data=value.data or not value.leaves, chosen=value.leaves)

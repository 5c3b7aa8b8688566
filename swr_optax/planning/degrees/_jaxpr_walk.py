"""One abstract run through a network's jaxpr, into all that it contains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from jax.extend import core
import numpy as np

from swr_optax.planning.degrees._degrees import Rule, Value, Walk, is_neutral
from swr_optax.planning.degrees._rules import (
    LOSSY,
    RULES,
    cast,
    keep,
    meet,
    product,
    unknown,
)
from swr_optax.planning.degrees._slices import Place, follow, shape_of


class Stack(NamedTuple):
    """An array whose slices have values of their own.

    Attributes:
        slices: their values, in order.
        place: where they lie.
    """

    slices: tuple[Value, ...]
    place: Place


Known: TypeAlias = Value | Stack
"""What the walk knows about an array."""


def walk_network(
    walk: Walk, jaxpr: core.ClosedJaxpr, places: Sequence[int | slice]
) -> list[Known]:
    """What is known of a network's outputs.

    Args:
        walk: is filled in.
        jaxpr: its first arguments are the leaves, the others the inputs.
        places: for each of the leaves which of the walk's leaves it is: a number,
            or for a stack of layers a slice.
    """
    leaves = [leaf_value(walk, place) for place in places]
    data = Value(walk.zero, data=True)
    inputs = [data] * (len(jaxpr.jaxpr.invars) - len(leaves))
    return run(walk, jaxpr, [*leaves, *inputs])


def leaf_value(walk: Walk, place: int | slice) -> Known:
    """What is known of a leaf at the start."""
    if isinstance(place, int):
        return walk.leaves[place]
    slices = tuple(walk.leaves[place])
    return Stack(slices, Place(axis=0, length=len(slices)))


def run(
    walk: Walk, jaxpr: core.ClosedJaxpr | core.Jaxpr, args: Sequence[Known]
) -> list[Known]:
    """What is known of a jaxpr's outputs, given the same of its arguments."""
    consts: Sequence[Any] = getattr(jaxpr, "consts", ())
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    known: dict[core.Var, Known] = dict(zip(jaxpr.invars, args, strict=True))
    for var, const in zip(jaxpr.constvars, consts, strict=True):
        known[var] = walk.constant(const)

    def read(atom: core.Var | core.Literal) -> Known:
        if isinstance(atom, core.Literal):
            return walk.constant(atom.val)
        return known[atom]

    for eqn in jaxpr.eqns:
        results = _apply(walk, eqn, [read(atom) for atom in eqn.invars])
        known.update(zip(eqn.outvars, results, strict=True))
    walk.eqn = None
    return [read(atom) for atom in jaxpr.outvars]


def _apply(
    walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Known]
) -> Sequence[Known]:
    """What is known of one equation's results."""
    name = eqn.primitive.name
    walk.eqn = eqn
    walk.moment += 1
    if name in CALLS:
        walk.calls.append(str(eqn.params.get("name", "")))
        results = CALLS[name](walk, eqn, operands)
        walk.calls.pop()
        return results

    ranks = [len(shape_of(atom)) for atom in eqn.invars]
    place = _place_of_results(eqn, operands)
    if place is None:
        values = [unstacked(walk, known) for known in operands]
        return _apply_rule(walk, eqn, _with_ranks(values, ranks))
    lanes: list[Sequence[Value]] = []
    for k, known in enumerate(operands):
        if isinstance(known, Stack) and follow(eqn, k, known.place) == place:
            lanes.append(known.slices)
        else:
            lanes.append([unstacked(walk, known)] * place.length)
        # The axis of the slices is no dimension of a slice.
        if any(
            follow(eqn, k, Place(axis, place.length, place.inner)) == place
            for axis, size in enumerate(shape_of(eqn.invars[k]))
            if size == place.length
        ):
            ranks[k] -= 1
    rows = [
        _apply_rule(walk, eqn, _with_ranks(values, ranks))
        for values in zip(*lanes, strict=True)
    ]
    return [Stack(slices, place) for slices in zip(*rows, strict=True)]


def _place_of_results(eqn: core.JaxprEqn, operands: Sequence[Known]) -> Place | None:
    """Where the results keep an operand's slices apart, if they do."""
    for k, known in enumerate(operands):
        if isinstance(known, Stack):
            place = follow(eqn, k, known.place)
            if place is not None:
                return place
    return None


def _with_ranks(values: Sequence[Value], ranks: Sequence[int]) -> list[Value]:
    pairs = zip(values, ranks, strict=True)
    return [value._replace(rank=rank) for value, rank in pairs]


def _apply_rule(
    walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]
) -> list[Value]:
    """Values of one equation's results, by the rule of its primitive."""
    name = eqn.primitive.name
    rule = RULES.get(name, unknown)
    degree = rule(walk, eqn, operands)
    data = any(value.data for value in operands)
    leaves = frozenset().union(*(value.leaves for value in operands))
    result = Value(
        degree=degree,
        data=data,
        leaves=frozenset() if data or rule in LOSSY else leaves,
        layer=max((walk.layer_of(value) for value in operands), default=-1),
        constant=_constant(rule, operands),
    )
    if name in ("top_k", "approx_top_k"):  # The second result holds indices.
        return [result, result._replace(degree=walk.zero)]
    if rule is keep and len(operands) == len(eqn.outvars):  # Each on its own.
        return [result._replace(degree=value.degree) for value in operands]
    return [result] * len(eqn.outvars)


def _constant(rule: Rule, operands: Sequence[Value]) -> float | None:
    """The number that a result holds everywhere, where that is plain."""
    if rule in (keep, cast):
        return operands[0].constant
    if rule is product and any(value.constant == 0 for value in operands):
        return 0.0
    return None


# Slices, together and apart.


def unstacked(walk: Walk, known: Known, use: str = "used together") -> Value:
    """One value for all slices, whose scales must agree for that."""
    if isinstance(known, Value):
        return known
    scaled = [value for value in known.slices if not is_neutral(value)]
    first = (scaled or known.slices)[0]
    for value in scaled[1:]:
        walk.require(
            value.degree - first.degree,
            f"{walk.name(first)} and {walk.name(value)} are {use} and must share one"
            " scale",
        )
    return _all_in_one(first, known.slices)


def _all_in_one(first: Value, values: Sequence[Value]) -> Value:
    return first._replace(
        data=any(value.data for value in values),
        leaves=frozenset().union(*(value.leaves for value in values)),
        layer=max(value.layer for value in values),
    )


def require_same_scale(walk: Walk, given: Known, updated: Known) -> None:
    """Demands that a running statistic and its update scale alike."""
    if (
        isinstance(given, Stack)
        and isinstance(updated, Stack)
        and given.place == updated.place
    ):
        pairs = list(zip(given.slices, updated.slices, strict=True))
    else:
        pairs = [(unstacked(walk, given), unstacked(walk, updated))]
    for before, after in pairs:
        walk.require(
            after.degree - before.degree,
            f"{walk.name(before)} and its update must share one scale",
        )


def _apart(walk: Walk, known: Known, length: int) -> Sequence[Known]:
    """The parts of an array that a scan takes apart along its first axis."""
    if isinstance(known, Value):
        return [known] * length
    if known.place == Place(0, length):
        return known.slices
    if known.place.axis == 0:
        return [unstacked(walk, known)] * length
    inside = known.place._replace(axis=known.place.axis - 1)
    return [known._replace(place=inside)] * length


def _together(walk: Walk, parts: Sequence[Known]) -> Known:
    """The array that a scan makes of the parts, along a new first axis."""
    first = parts[0]
    if isinstance(first, Stack) and all(_alike(part, first) for part in parts):
        outside = first.place._replace(axis=first.place.axis + 1)
        return first._replace(place=outside)
    values = tuple(unstacked(walk, part) for part in parts)
    # A state that starts as zero has no scale of its own in its first slice.
    scaled = [value for value in values if not is_neutral(value)] or values
    if all(np.array_equal(value.degree, scaled[0].degree) for value in scaled):
        return _all_in_one(scaled[0], scaled)
    return Stack(values, Place(0, len(values)))


def _alike(a: Known, b: Known) -> bool:
    if isinstance(a, Value) and isinstance(b, Value):
        return np.array_equal(a.degree, b.degree) and a.constant == b.constant
    return (
        isinstance(a, Stack)
        and isinstance(b, Stack)
        and a.place == b.place
        and all(map(_alike, a.slices, b.slices))
    )


def _meet_each(walk: Walk, name: str, candidates: Sequence[Known]) -> Known:
    """:func:`meet`, slice by slice where all have the same slices."""
    first = candidates[0]
    stacks = [
        known
        for known in candidates
        if isinstance(known, Stack)
        and isinstance(first, Stack)
        and known.place == first.place
    ]
    if isinstance(first, Stack) and len(stacks) == len(candidates):
        rows = zip(*(stack.slices for stack in stacks), strict=True)
        return first._replace(slices=tuple(meet(walk, name, row) for row in rows))
    return meet(walk, name, [unstacked(walk, known) for known in candidates])


# Primitives that contain jaxprs.


def _inline(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Known]) -> list[Known]:
    return run(walk, eqn.params[INNER[eqn.primitive.name]], operands)


def _shard_map(
    walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Known]
) -> list[Known]:
    """Inside, arrays are parts of what they are outside, so slices are not followed."""
    values = [unstacked(walk, known) for known in operands]
    return run(walk, eqn.params["jaxpr"], values)


def _scan(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Known]) -> list[Known]:
    """Each iteration in turn, until they only repeat themselves."""
    consts_end = eqn.params["num_consts"]
    carry_end = consts_end + eqn.params["num_carry"]
    length = eqn.params["length"]
    consts = operands[:consts_end]
    carry = [_as_state(walk, known) for known in operands[consts_end:carry_end]]
    xs = [_apart(walk, known, length) for known in operands[carry_end:]]
    if not length:
        return [*carry, *[Value(walk.zero)] * (len(eqn.outvars) - len(carry))]
    repeats = all(part is parts[0] for parts in xs for part in parts)
    indices = range(length)
    results: dict[int, list[Known]] = {}
    for i in reversed(indices) if eqn.params["reverse"] else indices:
        now = [parts[i] for parts in xs]
        out = run(walk, eqn.params["jaxpr"], [*consts, *carry, *now])
        before, carry = carry, out[: len(carry)]
        results[i] = out[len(carry) :]
        if repeats and all(map(_alike, before, carry)):
            break  # All that follow would be the same.
    last = results[next(reversed(results))]
    ys = zip(*(results.get(i, last) for i in indices), strict=True)
    return [*carry, *(_together(walk, parts) for parts in ys)]


def _as_state(walk: Walk, known: Known) -> Known:
    """A loop's state is data, also where it starts as zeros or as a parameter."""
    if isinstance(known, Stack):
        states = (_value_as_state(walk, value) for value in known.slices)
        return known._replace(slices=tuple(states))
    return _value_as_state(walk, known)


def _value_as_state(walk: Walk, value: Value) -> Value:
    state = value._replace(data=True, leaves=frozenset())
    walk.adds(value, [state])
    return state


def _while(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Known]) -> list[Known]:
    """However often the body runs, it must not change the carry's scale."""
    body_start = eqn.params["cond_nconsts"]
    carry_start = body_start + eqn.params["body_nconsts"]
    carry = [_as_state(walk, known) for known in operands[carry_start:]]
    for _ in range(2):  # What starts as zero shows its scale after a round.
        after = run(
            walk,
            eqn.params["body_jaxpr"],
            [*operands[body_start:carry_start], *carry],
        )
        pairs = zip(carry, after, strict=True)
        carry = [_meet_each(walk, "while", pair) for pair in pairs]
    run(walk, eqn.params["cond_jaxpr"], [*operands[:body_start], *carry])
    return carry


def _cond(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Known]) -> list[Known]:
    """Every branch may be taken, so their results must agree."""
    branches = [run(walk, branch, operands[1:]) for branch in eqn.params["branches"]]
    rows = zip(*branches, strict=True)
    return [_meet_each(walk, "cond", results) for results in rows]


INNER: Mapping[str, str] = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "composite": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
"""Primitives that only wrap a jaxpr, and the parameter that holds it."""

CALLS: Mapping[str, Callable[[Walk, core.JaxprEqn, Sequence[Known]], list[Known]]] = {
    **dict.fromkeys(INNER, _inline),
    "shard_map": _shard_map,
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}
"""Primitives that contain jaxprs: what they make of what they are given."""

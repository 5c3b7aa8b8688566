"""One abstract run through a network's jaxpr, into all that it contains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax.extend import core

from swr_optax.planning.degrees._equation import chosen_by, results_of, with_ranks
from swr_optax.planning.degrees._numbers import (
    SCALE_FREE,
    ZERO,
    is_scale_free,
    numbers_in,
    union,
)
from swr_optax.planning.degrees._places import places_of_results
from swr_optax.planning.degrees._primitives import IDENTITIES, PRIMITIVES, UNKNOWN
from swr_optax.planning.degrees._rules import meet, must_agree
from swr_optax.planning.degrees._slices import SliceAxis, shape_of
from swr_optax.planning.degrees._stacks import (
    all_in_one,
    axis_of_results,
    leaf_value,
    parts_of,
    put_together,
    taken_apart,
    whole,
    with_first_axis,
)
from swr_optax.planning.degrees._values import Known, Stack, Value, alike
from swr_optax.planning.degrees._walk import Walk

EXACT_ROUNDS = 16
"""After so many rounds of a scan, numbers that change are no longer followed."""

Observer = Callable[[core.JaxprEqn, Sequence[Known], Sequence[Known]], None]
"""Is shown each equation with what is known of its operands and results."""


def walk_network(
    walk: Walk,
    jaxpr: core.ClosedJaxpr,
    rows: Sequence[int | slice],
    observer: Observer | None = None,
) -> list[Known]:
    """What is known of a network's outputs.

    Args:
        walk: is filled in.
        jaxpr: its first arguments are the leaves, the others the inputs.
        rows: for each of the leaves which of the walk's leaves it is: a number,
            or for a stack of layers a slice.
        observer: is called after each equation.
    """
    leaves = [
        with_first_axis(leaf_value(walk, row, shape_of(var)), shape_of(var), position)
        for position, (row, var) in enumerate(
            zip(rows, jaxpr.jaxpr.invars, strict=False)
        )
    ]
    data = Value(walk.zero, data=True)
    inputs = [data] * (len(jaxpr.jaxpr.invars) - len(leaves))
    return _Traversal(walk, observer).run(jaxpr, [*leaves, *inputs])


class _Traversal:
    """One run; holds what does not change in it."""

    def __init__(self, walk: Walk, observer: Observer | None) -> None:
        self.walk = walk
        self.observer = observer

    def run(
        self, jaxpr: core.ClosedJaxpr | core.Jaxpr, args: Sequence[Known]
    ) -> list[Known]:
        """What is known of a jaxpr's outputs, given the same of its arguments."""
        walk = self.walk
        consts: Sequence[Any] = getattr(jaxpr, "consts", ())
        jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
        known: dict[core.Var, Known] = dict(zip(jaxpr.invars, args, strict=True))
        for var, const in zip(jaxpr.constvars, consts, strict=True):
            known[var] = Value(walk.zero, numbers=numbers_in(const))

        def read(atom: core.Var | core.Literal) -> Known:
            if isinstance(atom, core.Literal):
                return Value(walk.zero, numbers=numbers_in(atom.val))
            return known[atom]

        for eqn in jaxpr.eqns:
            if not eqn.outvars and not _writes(eqn):
                continue  # Prints and the like change no output.
            operands = [read(atom) for atom in eqn.invars]
            results = self.apply(eqn, operands)
            if self.observer is not None:
                self.observer(eqn, operands, results)
            known.update(zip(eqn.outvars, results, strict=True))
        walk.eqn = None
        return [read(atom) for atom in jaxpr.outvars]

    def apply(self, eqn: core.JaxprEqn, operands: Sequence[Known]) -> Sequence[Known]:
        """What is known of one equation's results."""
        walk, name = self.walk, eqn.primitive.name
        walk.eqn = eqn
        walk.moment += 1
        if name in CALLS:
            walk.calls.append(str(eqn.params.get("name", "")))
            results = CALLS[name](self, eqn, operands)
            walk.calls.pop()
            return results
        if name in IDENTITIES:
            return operands
        primitive = PRIMITIVES.get(name, UNKNOWN)
        walk.stacks.weigh(eqn, operands)
        parts = parts_of(eqn, operands)
        if parts is not None:
            return parts
        if name == "stack":
            values = [whole(walk, known) for known in operands]
            walk.add(values)
            if any((value.degree != values[0].degree).any() for value in values):
                slices = tuple(
                    value._replace(
                        places=places_of_results(eqn, primitive.follow, [(k, value)])
                    )
                    for k, value in enumerate(values)
                )
                return [Stack(slices, SliceAxis(eqn.params["axis"], len(values)))]

        ranks = [len(shape_of(atom)) for atom in eqn.invars]
        along = axis_of_results(eqn, primitive, operands)
        if along is None:
            values = [whole(walk, known) for known in operands]
            return results_of(walk, eqn, primitive, with_ranks(values, ranks))
        lanes: list[Sequence[Value]] = []
        for k, known in enumerate(operands):
            if (
                isinstance(known, Stack)
                and primitive.follow(eqn, k, known.along) == along
            ):
                lanes.append(known.slices)
            else:
                lanes.append([whole(walk, known)] * along.length)
            # The axis of the slices is no dimension of a slice.
            if any(
                primitive.follow(eqn, k, SliceAxis(axis, along.length, along.inner))
                == along
                for axis, size in enumerate(shape_of(eqn.invars[k]))
                if size == along.length
            ):
                ranks[k] -= 1
        rows = [
            results_of(walk, eqn, primitive, with_ranks(values, ranks))
            for values in zip(*lanes, strict=True)
        ]
        return [Stack(slices, along) for slices in zip(*rows, strict=True)]


def _writes(eqn: core.JaxprEqn) -> bool:
    """Whether an equation may write into a mutable array."""
    return any(hasattr(atom.aval, "inner_aval") for atom in eqn.invars)


# Primitives that contain jaxprs.


def _inline(
    self: _Traversal, eqn: core.JaxprEqn, operands: Sequence[Known]
) -> list[Known]:
    return self.run(eqn.params[INNER[eqn.primitive.name]], operands)


def _shard_map(
    self: _Traversal, eqn: core.JaxprEqn, operands: Sequence[Known]
) -> list[Known]:
    """Inside, arrays are parts of what they are outside, so slices are not followed."""
    values = [
        whole(self.walk, known)._replace(axes=(), places=()) for known in operands
    ]
    results = self.run(eqn.params["jaxpr"], values)
    return [whole(self.walk, known)._replace(axes=(), places=()) for known in results]


def _scan(
    self: _Traversal, eqn: core.JaxprEqn, operands: Sequence[Known]
) -> list[Known]:
    """Each iteration in turn, until they only repeat themselves."""
    walk = self.walk
    consts_end = eqn.params["num_consts"]
    carry_end = consts_end + eqn.params["num_carry"]
    length = eqn.params["length"]
    consts, carry = operands[:consts_end], list(operands[consts_end:carry_end])
    walk.stacks.weigh_scan(eqn, operands)
    xs = [taken_apart(walk, known, length) for known in operands[carry_end:]]
    if not length:
        nothing = Value(walk.zero, numbers=ZERO)
        return [*carry, *[nothing] * (len(eqn.outvars) - len(carry))]
    repeats = all(part is parts[0] for parts in xs for part in parts)
    indices = range(length)
    results: dict[int, list[Known]] = {}
    for i in reversed(indices) if eqn.params["reverse"] else indices:
        now = [parts[i] for parts in xs]
        out = self.run(eqn.params["jaxpr"], [*consts, *carry, *now])
        before, carry = carry, out[: len(carry)]
        results[i] = out[len(carry) :]
        if len(results) >= EXACT_ROUNDS:
            carry = [_widened(a, b) for a, b in zip(before, carry, strict=True)]
        if repeats and all(map(alike, before, carry)):
            break  # All that follow would be the same.
    last = results[next(reversed(results))]
    ys = zip(*(results.get(i, last) for i in indices), strict=True)
    return [*carry, *(put_together(walk, parts) for parts in ys)]


def _widened(before: Known, after: Known) -> Known:
    """Without the numbers that differ from one round of a loop to the next."""
    if isinstance(after, Value) and isinstance(before, Value):
        if before.usual != after.usual:
            after = after._replace(usual=None)
        if before.numbers == after.numbers:
            return after
        free = before.scale_free and after.scale_free
        return after._replace(numbers=frozenset(SCALE_FREE) if free else None)
    return after


def _while(
    self: _Traversal, eqn: core.JaxprEqn, operands: Sequence[Known]
) -> list[Known]:
    """However often the body runs, it must not change the carry's scale."""
    body_start = eqn.params["cond_nconsts"]
    carry_start = body_start + eqn.params["body_nconsts"]
    body_consts = operands[body_start:carry_start]
    carry = list(operands[carry_start:])
    while True:
        after = self.run(eqn.params["body_jaxpr"], [*body_consts, *carry])
        # The state after any number of rounds.
        joined = [
            _joined(self.walk, before, new)
            for before, new in zip(carry, after, strict=True)
        ]
        if all(map(alike, carry, joined)):
            break
        carry = joined
    results = self.run(eqn.params["cond_jaxpr"], [*operands[:body_start], *carry])
    ends = [whole(self.walk, known) for known in results]
    return [_chosen_by_all(self.walk, ends, known) for known in carry]


def _joined(walk: Walk, before: Known, after: Known) -> Known:
    """What is known of a loop's state, whether or not it was updated."""
    if isinstance(before, Value) or isinstance(after, Value):
        return _joined_value(walk, whole(walk, before), whole(walk, after))
    if before.along == after.along:
        pairs = zip(before.slices, after.slices, strict=True)
        return before._replace(
            slices=tuple(_joined_value(walk, a, b) for a, b in pairs)
        )
    return _joined_value(walk, whole(walk, before), whole(walk, after))


def _joined_value(walk: Walk, before: Value, after: Value) -> Value:
    before, after = walk.settled(before), walk.settled(after)
    walk.add([before, after])
    data = walk.is_data(before) or walk.is_data(after)
    degree = after.degree if before.scale_free else before.degree
    if not after.scale_free:
        words = must_agree(walk, "while", before, after)
        walk.require(degree - after.degree, words)
    numbers = union([before.numbers, after.numbers])
    if numbers is not None and numbers != before.numbers:
        numbers = frozenset(SCALE_FREE) if is_scale_free(numbers) else None
    return Value(
        degree=degree,
        data=data,
        leaves=frozenset() if data else before.leaves | after.leaves,
        chosen=frozenset() if data else before.chosen | after.chosen,
        layer=max(before.layer, after.layer),
        depth=before.depth,
        numbers=numbers,
        influences=before.influences | after.influences,
        axes=walk.stacks.unite([*before.axes, *after.axes]),
    )


def _cond(
    self: _Traversal, eqn: core.JaxprEqn, operands: Sequence[Known]
) -> list[Known]:
    """Every branch that may be taken counts, so their results must agree."""
    walk = self.walk
    which = whole(walk, operands[0])
    branches = eqn.params["branches"]
    possible = [*range(len(branches))]
    if which.numbers is not None:
        last = len(branches) - 1
        possible = sorted({min(max(int(n), 0), last) for n in which.numbers})
    results = [self.run(branches[i], operands[1:]) for i in possible]
    return [
        _chosen_by_all(walk, [which], _of_branches(walk, known))
        for known in zip(*results, strict=True)
    ]


def _of_branches(walk: Walk, results: Sequence[Known]) -> Known:
    """The result of one branch or another, slice by slice where all have slices."""
    first = results[0]
    if len(results) == 1:
        return first
    stacks = [
        known
        for known in results
        if isinstance(known, Stack)
        and isinstance(first, Stack)
        and known.along == first.along
    ]
    if isinstance(first, Stack) and len(stacks) == len(results):
        rows = zip(*(stack.slices for stack in stacks), strict=True)
        return first._replace(slices=tuple(_of_values(walk, row) for row in rows))
    return _of_values(walk, [whole(walk, known) for known in results])


def _of_values(walk: Walk, values: Sequence[Value]) -> Value:
    values = [walk.settled(value) for value in values]
    if any(walk.is_data(value) for value in values):
        for value in values:
            walk.use_as_data(value)
    walk.add(values)
    together = all_in_one(walk, meet(walk, "cond", values), values)
    return together._replace(
        axes=walk.stacks.unite(pair for value in values for pair in value.axes)
    )


def _chosen_by_all(walk: Walk, choosers: Sequence[Value], known: Known) -> Known:
    """A result of which the data may decide which one it is."""
    if isinstance(known, Stack):
        slices = (chosen_by(walk, choosers, value) for value in known.slices)
        return known._replace(slices=tuple(slices))
    return chosen_by(walk, choosers, known)


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

CALLS: Mapping[
    str, Callable[[_Traversal, core.JaxprEqn, Sequence[Known]], list[Known]]
] = {
    **dict.fromkeys(INNER, _inline),
    "shard_map": _shard_map,
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}
"""Primitives that contain jaxprs: what they make of what they are given."""

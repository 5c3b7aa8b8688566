"""One abstract run through a network's jaxpr, into all that it contains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax.extend import core
import numpy as np

from swr_optax._degrees import Rule, Value, Walk, is_neutral
from swr_optax._rules import LOSSY, RULES, cast, keep, meet, product, unknown

UNCHANGED = frozenset(
    {
        "convert_element_type",
        "copy",
        "name",
        "neg",
        "reduce_precision",
        "sharding_constraint",
        "stop_gradient",
    }
)
"""Primitives that leave each slice of a stacked leaf a slice of it."""


def walk_network(walk: Walk, jaxpr: core.ClosedJaxpr) -> list[Value]:
    """Values of a network's outputs.

    Args:
        walk: is filled in.
        jaxpr: its first arguments are the leaves, the others the inputs.
    """
    inputs = len(jaxpr.jaxpr.invars) - len(walk.leaves)
    data = [Value(walk.zero, data=True)] * inputs
    return run(walk, jaxpr, walk.leaves + data)


def run(
    walk: Walk, jaxpr: core.ClosedJaxpr | core.Jaxpr, args: Sequence[Value]
) -> list[Value]:
    """Values of a jaxpr's outputs for given values of its arguments."""
    consts: Sequence[Any] = getattr(jaxpr, "consts", ())
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    known: dict[core.Var, Value] = dict(zip(jaxpr.invars, args, strict=True))
    for var, const in zip(jaxpr.constvars, consts, strict=True):
        known[var] = walk.constant(const)

    def read(atom: core.Var | core.Literal) -> Value:
        if isinstance(atom, core.Literal):
            return walk.constant(atom.val)
        return known[atom]

    for eqn in jaxpr.eqns:
        results = _apply(walk, eqn, [read(atom) for atom in eqn.invars])
        known.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply(walk: Walk, eqn: core.JaxprEqn, operands: list[Value]) -> list[Value]:
    """Values of one equation's results."""
    name = eqn.primitive.name
    if name in CALLS:
        walk.calls.append(str(eqn.params.get("name", "")))
        results = CALLS[name](walk, eqn, operands)
        walk.calls.pop()
        return results
    if name in UNCHANGED and operands[0].degree.ndim == 2:
        return [operands[0]]

    operands = [unstacked(walk, value) for value in operands]
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
    if name == "top_k":  # The second result holds indices.
        return [result, result._replace(degree=walk.zero)]
    if name in ("sort", "psum", "pmax", "pmin"):  # Each operand on its own.
        return [result._replace(degree=value.degree) for value in operands]
    return [result] * len(eqn.outvars)


def _constant(rule: Rule, operands: Sequence[Value]) -> float | None:
    """The number that a result holds everywhere, where that is plain."""
    if rule in (keep, cast):
        return operands[0].constant
    if rule is product and any(value.constant == 0 for value in operands):
        return 0.0
    return None


# Stacked values, whose slices along the first axis have degrees of their own.


def unstacked(walk: Walk, value: Value) -> Value:
    """One degree for all slices, which must agree for that."""
    if value.degree.ndim == 1:
        return value
    words = f"the slices of {walk.name(value)} are used together and must share one"
    for degree in value.degree[1:]:
        walk.require(degree - value.degree[0], f"{words} scale")
    return value._replace(degree=value.degree[0])


def _slice(value: Value, i: int) -> Value:
    if value.degree.ndim == 1:
        return value
    leaves = frozenset(leaf + i for leaf in value.leaves)
    return value._replace(degree=value.degree[i], leaves=leaves)


def _stack(slices: Sequence[Value]) -> Value:
    # A state that starts as zero has no scale of its own in its first slice.
    scaled = [value for value in slices if not is_neutral(value)] or slices
    first = scaled[0]
    if all(np.array_equal(value.degree, first.degree) for value in scaled):
        return first
    return Value(
        np.stack([(first if is_neutral(value) else value).degree for value in slices]),
        data=any(value.data for value in slices),
        layer=max(value.layer for value in slices),
    )


def stacked_lengths(jaxpr: core.ClosedJaxpr, leaves: int) -> dict[int, int]:
    """Leaves that a scan takes apart, slice by slice, and how many slices.

    These are layers made with a scan over blocks.  A scan over steps of time
    takes no matrices apart, so it does not count.

    Args:
        jaxpr: of a network; its first arguments are the leaves.
        leaves: how many they are.
    """
    found: dict[int, int] = {}

    def visit(jaxpr: core.Jaxpr, leaf_of: dict[core.Var, int]) -> None:
        for eqn in jaxpr.eqns:
            sources = [
                None if isinstance(atom, core.Literal) else leaf_of.get(atom)
                for atom in eqn.invars
            ]
            name = eqn.primitive.name
            if name in UNCHANGED and sources[0] is not None:
                leaf_of[eqn.outvars[0]] = sources[0]
            elif name == "scan":
                split = eqn.params["num_consts"] + eqn.params["num_carry"]
                taken = [
                    (leaf, len(getattr(atom.aval, "shape", ())))
                    for atom, leaf in zip(
                        eqn.invars[split:], sources[split:], strict=True
                    )
                    if leaf is not None
                ]
                if any(rank > 2 for _, rank in taken):
                    found.update((leaf, eqn.params["length"]) for leaf, _ in taken)
            elif name in INNER:
                inner = eqn.params[INNER[name]]
                inner = getattr(inner, "jaxpr", inner)
                inner_leaf_of = {
                    var: leaf
                    for var, leaf in zip(inner.invars, sources, strict=True)
                    if leaf is not None
                }
                visit(inner, inner_leaf_of)
                for outer, var in zip(eqn.outvars, inner.outvars, strict=True):
                    if not isinstance(var, core.Literal) and var in inner_leaf_of:
                        leaf_of[outer] = inner_leaf_of[var]

    arguments = jaxpr.jaxpr.invars[:leaves]
    visit(jaxpr.jaxpr, {var: index for index, var in enumerate(arguments)})
    return found


# Primitives that contain jaxprs.


def _inline(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> list[Value]:
    return run(walk, eqn.params[INNER[eqn.primitive.name]], operands)


def _scan(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> list[Value]:
    """Each iteration in turn, until they only repeat themselves."""
    consts_end = eqn.params["num_consts"]
    carry_end = consts_end + eqn.params["num_carry"]
    consts, xs = operands[:consts_end], operands[carry_end:]
    carry = [_as_state(walk, value) for value in operands[consts_end:carry_end]]
    length = eqn.params["length"]
    indices = range(length)
    stacked = any(value.degree.ndim == 2 for value in xs)
    results: dict[int, list[Value]] = {}
    for i in reversed(indices) if eqn.params["reverse"] else indices:
        out = run(
            walk, eqn.params["jaxpr"], [*consts, *carry, *(_slice(x, i) for x in xs)]
        )
        before, carry = carry, out[: len(carry)]
        results[i] = out[len(carry) :]
        if not stacked and all(map(_alike, before, carry)):
            break  # All that follow would be the same.
    last = results[next(reversed(results))] if results else []
    ys = zip(*(results.get(i, last) for i in indices), strict=True)
    if not length:
        empty = [Value(walk.zero)] * (len(eqn.outvars) - len(carry))
        return [*carry, *empty]
    return [*carry, *(_stack(slices) for slices in ys)]


def _as_state(walk: Walk, value: Value) -> Value:
    """A loop's state is data, also where it starts as zeros or as a parameter."""
    state = value._replace(data=True, leaves=frozenset())
    walk.adds(value, [state])
    return state


def _alike(a: Value, b: Value) -> bool:
    return np.array_equal(a.degree, b.degree) and a.constant == b.constant


def _while(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> list[Value]:
    """However often the body runs, it must not change the carry's scale."""
    body_start = eqn.params["cond_nconsts"]
    carry_start = body_start + eqn.params["body_nconsts"]
    carry = [
        _as_state(walk, unstacked(walk, value)) for value in operands[carry_start:]
    ]
    for _ in range(2):  # What starts as zero shows its scale after a round.
        after = run(
            walk,
            eqn.params["body_jaxpr"],
            [*operands[body_start:carry_start], *carry],
        )
        after = [unstacked(walk, value) for value in after]
        carry = [meet(walk, "while", [a, b]) for a, b in zip(carry, after, strict=True)]
    run(walk, eqn.params["cond_jaxpr"], [*operands[:body_start], *carry])
    return carry


def _cond(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> list[Value]:
    """Every branch may be taken, so their results must agree."""
    branches = [
        [unstacked(walk, v) for v in run(walk, branch, operands[1:])]
        for branch in eqn.params["branches"]
    ]
    return [meet(walk, "cond", values) for values in zip(*branches, strict=True)]


INNER: Mapping[str, str] = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
"""Primitives that only wrap a jaxpr, and the parameter that holds it."""

CALLS: Mapping[str, Callable[[Walk, core.JaxprEqn, Sequence[Value]], list[Value]]] = {
    **dict.fromkeys(INNER, _inline),
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}
"""Primitives that contain jaxprs: what they make of their operands' values."""

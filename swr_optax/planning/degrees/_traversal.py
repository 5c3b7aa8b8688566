"""One abstract run through a network's jaxpr, into all that it contains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax.extend import core
import jax.numpy as jnp

from swr_optax.planning.degrees._numbers import (
    SCALE_FREE,
    ZERO,
    dtype_of,
    is_scale_free,
    numbers_in,
    only_number,
    union,
)
from swr_optax.planning.degrees._primitives import (
    IDENTITIES,
    INDICES_SECOND,
    PRIMITIVES,
    UNKNOWN,
    Primitive,
)
from swr_optax.planning.degrees._rules import (
    cast,
    keep,
    meet,
    must_agree,
    product,
    quotient,
)
from swr_optax.planning.degrees._slices import SliceAxis, shape_of, taken
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
        _with_first_axis(leaf_value(walk, row), shape_of(var), position)
        for position, (row, var) in enumerate(
            zip(rows, jaxpr.jaxpr.invars, strict=False)
        )
    ]
    data = Value(walk.zero, data=True)
    inputs = [data] * (len(jaxpr.jaxpr.invars) - len(leaves))
    return _Traversal(walk, observer).run(jaxpr, [*leaves, *inputs])


def leaf_value(walk: Walk, row: int | slice) -> Known:
    """What is known of a leaf at the start."""
    if isinstance(row, int):
        return walk.leaves[row]
    slices = tuple(walk.leaves[row])
    return Stack(slices, SliceAxis(axis=0, length=len(slices)))


def _with_first_axis(leaf: Known, shape: tuple[int, ...], position: int) -> Known:
    """A leaf that may turn out to be a stack along its first axis."""
    if isinstance(leaf, Stack) or not shape:
        return leaf
    return leaf._replace(axes=((SliceAxis(0, shape[0]), position),))


def whole(walk: Walk, known: Known, use: str = "used together") -> Value:
    """One value for all slices, whose scales must agree for that."""
    if isinstance(known, Value):
        return known
    bound = [value for value in known.slices if not value.scale_free]
    first = (bound or known.slices)[0]
    for value in bound[1:]:
        walk.require(
            value.degree - first.degree,
            f"{walk.name(first)} and {walk.name(value)} are {use} and must share one"
            " scale",
        )
    return _all_in_one(walk, first, known.slices)


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
        _weigh_stacks(walk, eqn, operands)
        parts = _parts(eqn, operands)
        if parts is not None:
            return parts
        if name == "stack":
            values = [whole(walk, known) for known in operands]
            if any((value.degree != values[0].degree).any() for value in values):
                return [
                    Stack(tuple(values), SliceAxis(eqn.params["axis"], len(values)))
                ]

        ranks = [len(shape_of(atom)) for atom in eqn.invars]
        along = _axis_of_results(eqn, primitive, operands)
        if along is None:
            values = [whole(walk, known) for known in operands]
            return _apply_entry(walk, eqn, primitive, _with_ranks(values, ranks))
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
            _apply_entry(walk, eqn, primitive, _with_ranks(values, ranks))
            for values in zip(*lanes, strict=True)
        ]
        return [Stack(slices, along) for slices in zip(*rows, strict=True)]


def _writes(eqn: core.JaxprEqn) -> bool:
    """Whether an equation may write into a mutable array."""
    return any(hasattr(atom.aval, "inner_aval") for atom in eqn.invars)


# One equation without jaxprs of its own.


def _apply_entry(
    walk: Walk, eqn: core.JaxprEqn, primitive: Primitive, operands: Sequence[Value]
) -> list[Value]:
    """Values of one equation's results, by the entry of its primitive."""
    if eqn.primitive.name == "select_n":
        operands = _possible_cases(operands)
    if primitive.separate:
        results = [_result(walk, eqn, primitive, [value]) for value in operands]
        # The keys of a sort choose where the others' entries go.
        return [_chosen_value(walk, operands, value) for value in results]
    result = _result(walk, eqn, primitive, operands)
    if eqn.primitive.name in INDICES_SECOND:
        data = any(_by_data(walk, value) for value in operands)
        influences = result.influences
        return [result, Value(walk.zero, data=data, influences=influences)]
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
    degree = found.degree if isinstance(found, Value) else found
    epsilons = found.epsilons if isinstance(found, Value) else ()
    if primitive.degree in (keep, cast):
        epsilons = operands[0].epsilons
    contents = operands[primitive.contents]
    choosers = [v for v in operands if not any(v is c for c in contents)]
    numbers = primitive.numbers(eqn, [value.numbers for value in contents])
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
        influences=_influences(operands),
        epsilons=epsilons,
        axes=_axes_of_results(walk, eqn, primitive, operands),
    )


def _possible_cases(operands: Sequence[Value]) -> list[Value]:
    """The operands of a selection, without cases that are never selected."""
    which, *cases = operands
    if which.numbers is not None:
        cases = [case for i, case in enumerate(cases) if i in which.numbers]
    return [which, *cases]


def _by_data(walk: Walk, value: Value) -> bool:
    """Whether the data decide what a value is, if only by choosing it."""
    return walk.is_data(value) or bool(value.chosen)


def _depth(walk: Walk, primitive: Primitive, operands: Sequence[Value]) -> int:
    depth = max((value.depth for value in operands), default=0)
    met = {walk.is_data(value) for value in operands if value.data or value.leaves}
    return depth + (primitive.degree in (product, quotient) and len(met) == 2)


def _influences(values: Sequence[Value]) -> int:
    together = 0
    for value in values:
        together |= value.influences
    return together


def _with_epsilons_settled(
    walk: Walk, eqn: core.JaxprEqn, k: int, primitive: Primitive, value: Value
) -> Value:
    """An operand whose small constants are now known to be epsilons, or not."""
    if not value.epsilons or primitive.degree in (keep, cast):
        return value
    guarded = primitive.guards(eqn, k)
    for epsilon in value.epsilons:
        walk.settle(epsilon.approximate if guarded else epsilon.exact)
    return value._replace(epsilons=())


def settled(walk: Walk, value: Value) -> Value:
    """A value whose small constants are no epsilons, for all that is known."""
    for epsilon in value.epsilons:
        walk.settle(epsilon.exact)
    return value._replace(epsilons=())


def _with_ranks(values: Sequence[Value], ranks: Sequence[int]) -> list[Value]:
    pairs = zip(values, ranks, strict=True)
    return [value._replace(rank=rank) for value, rank in pairs]


# Slices, together and apart.


def _axis_of_results(
    eqn: core.JaxprEqn, primitive: Primitive, operands: Sequence[Known]
) -> SliceAxis | None:
    """Where the results keep an operand's slices apart, if they do."""
    for k, known in enumerate(operands):
        if isinstance(known, Stack):
            found = primitive.follow(eqn, k, known.along)
            if found is not None:
                return found
    return None


def _parts(eqn: core.JaxprEqn, operands: Sequence[Known]) -> list[Known] | None:
    """The results, where an equation takes slices apart."""
    stack = operands[0] if operands else None
    if not isinstance(stack, Stack):
        return None
    starts = [
        only_number(known.numbers) if isinstance(known, Value) else None
        for known in operands[1:]
    ]
    ranges = taken(eqn, stack.along, starts)
    if ranges is None:
        return None
    return [
        stack.slices[indices[0]]
        if len(indices) == 1
        else Stack(
            tuple(stack.slices[i] for i in indices),
            SliceAxis(stack.along.axis, len(indices)),
        )
        for indices in ranges
    ]


def _all_in_one(walk: Walk, first: Value, values: Sequence[Value]) -> Value:
    for value in values:
        settled(walk, value)
    data = any(walk.is_data(value) for value in values)
    leaves = frozenset[int]().union(*(value.leaves for value in values))
    chosen = frozenset[int]().union(*(value.chosen for value in values))
    return first._replace(
        data=data,
        leaves=frozenset() if data else leaves,
        chosen=frozenset() if data else chosen,
        layer=max(value.layer for value in values),
        numbers=union([value.numbers for value in values]),
        influences=_influences(values),
        epsilons=(),
        axes=(),
    )


def _apart(walk: Walk, known: Known, length: int) -> Sequence[Known]:
    """The parts of an array that a scan takes apart along its first axis."""
    if isinstance(known, Value):
        return [_with_axes_moved(known, -1)] * length
    if known.along == SliceAxis(0, length):
        return known.slices
    if known.along.axis == 0:
        return [whole(walk, known)] * length
    inside = known.along._replace(axis=known.along.axis - 1)
    return [known._replace(along=inside)] * length


def _together(walk: Walk, parts: Sequence[Known]) -> Known:
    """The array that a scan makes of the parts, along a new first axis."""
    first = parts[0]
    if isinstance(first, Stack) and all(alike(part, first) for part in parts):
        return first._replace(along=first.along._replace(axis=first.along.axis + 1))
    values = tuple(whole(walk, part) for part in parts)
    # A state that starts as zero has no scale of its own in its first slice.
    bound = [value for value in values if not value.scale_free] or list(values)
    if all((value.degree == bound[0].degree).all() for value in bound):
        together = _all_in_one(walk, bound[0], values)
        return together._replace(axes=_with_axes_moved(bound[0], 1).axes)
    return Stack(values, SliceAxis(0, len(values)))


# Which leaves are stacks.


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


def _with_axes_moved(value: Value, by: int) -> Value:
    """Without the first axis, or with one in front."""
    if not value.axes:
        return value
    moved = tuple(
        (along._replace(axis=along.axis + by), leaf)
        for along, leaf in value.axes
        if along.axis + by >= 0
    )
    return value._replace(axes=moved)


def _weigh_stacks(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Known]) -> None:
    """Notes what an equation says of which leaves are stacks of layers."""
    values = [value for value in operands if isinstance(value, Value)]
    if len(values) < len(operands) or not any(value.axes for value in values):
        return
    evidence = walk.stacks
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
                    evidence.added_up(found(k, axes))
                apart = [axis for axis in range(len(shapes[k])) if axis not in axes]
                if not values[k].data and len(shapes[k]) >= evidence.SMALLEST_RANK:
                    evidence.multiplied_apart(found(k, apart))
        case "conv_general_dilated":
            numbers = eqn.params["dimension_numbers"]
            groups = eqn.params["feature_group_count"]
            if groups == 1:
                evidence.added_up(found(0, [numbers.lhs_spec[1]]))
                evidence.added_up(found(1, [numbers.rhs_spec[1]]))
            # A batch of kernels was merged into their features, as `vmap` does.
            evidence.multiplied_apart(
                leaf
                for along, leaf in values[1].axes
                if along.axis == numbers.rhs_spec[0]
                and along.inner > 1
                and groups % along.length == 0
            )
        case "gather":
            if not all(value.data for value in values):
                looked_up = eqn.params["dimension_numbers"].collapsed_slice_dims
                evidence.added_up(found(0, looked_up))
        case "slice" | "split" | "unstack" | "dynamic_slice":
            if values[0].data:
                return
            starts = [only_number(value.numbers) for value in values[1:]]
            for along, leaf in values[0].axes:
                ranges = taken(eqn, along, starts)
                if ranges and all(len(indices) == 1 for indices in ranges):
                    evidence.taken_apart([leaf], along.length, len(shapes[0]))


# Primitives that contain jaxprs.


def _inline(
    self: _Traversal, eqn: core.JaxprEqn, operands: Sequence[Known]
) -> list[Known]:
    return self.run(eqn.params[INNER[eqn.primitive.name]], operands)


def _shard_map(
    self: _Traversal, eqn: core.JaxprEqn, operands: Sequence[Known]
) -> list[Known]:
    """Inside, arrays are parts of what they are outside, so slices are not followed."""
    values = [whole(self.walk, known)._replace(axes=()) for known in operands]
    results = self.run(eqn.params["jaxpr"], values)
    return [whole(self.walk, known)._replace(axes=()) for known in results]


def _scan(
    self: _Traversal, eqn: core.JaxprEqn, operands: Sequence[Known]
) -> list[Known]:
    """Each iteration in turn, until they only repeat themselves."""
    walk = self.walk
    consts_end = eqn.params["num_consts"]
    carry_end = consts_end + eqn.params["num_carry"]
    length = eqn.params["length"]
    consts, carry = operands[:consts_end], list(operands[consts_end:carry_end])
    _weigh_scan(walk, eqn, operands)
    xs = [_apart(walk, known, length) for known in operands[carry_end:]]
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
    return [*carry, *(_together(walk, parts) for parts in ys)]


def _weigh_scan(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Known]) -> None:
    """What a scan takes apart may be stacks of layers."""
    length = eqn.params["length"]
    first = eqn.params["num_consts"] + eqn.params["num_carry"]
    for known, atom in zip(operands[first:], eqn.invars[first:], strict=True):
        if isinstance(known, Value) and not known.data:
            leaves = [leaf for at, leaf in known.axes if at == SliceAxis(0, length)]
            walk.stacks.taken_apart(leaves, length, len(shape_of(atom)))


def _widened(before: Known, after: Known) -> Known:
    """Without the numbers that differ from one round of a loop to the next."""
    if isinstance(after, Value) and isinstance(before, Value):
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
    ends = self.run(eqn.params["cond_jaxpr"], [*operands[:body_start], *carry])
    return [_chosen_by(self.walk, ends, known) for known in carry]


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
    before, after = settled(walk, before), settled(walk, after)
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
        _chosen_by(walk, [which], _of_branches(walk, known))
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
    values = [settled(walk, value) for value in values]
    if any(walk.is_data(value) for value in values):
        for value in values:
            walk.use_as_data(value)
    walk.add(values)
    together = _all_in_one(walk, meet(walk, "cond", values), values)
    return together._replace(
        axes=walk.stacks.unite(pair for value in values for pair in value.axes)
    )


def _chosen_by(walk: Walk, choosers: Sequence[Known], known: Known) -> Known:
    """A result of which the data may decide which one it is."""
    if isinstance(known, Stack):
        slices = (_chosen_value(walk, choosers, value) for value in known.slices)
        return known._replace(slices=tuple(slices))
    return _chosen_value(walk, choosers, known)


def _chosen_value(walk: Walk, choosers: Sequence[Known], value: Value) -> Value:
    values = [whole(walk, chooser) for chooser in choosers]
    value = value._replace(influences=value.influences | _influences(values))
    if not any(_by_data(walk, chooser) for chooser in values):
        return value
    return value._replace(data=value.data or not value.leaves, chosen=value.leaves)


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

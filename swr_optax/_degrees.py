"""How every value of a network scales when its leaves are scaled.

Multiply leaf ``i`` of a network's variables by ``exp(s[i])``.  Each value that
the network computes is then multiplied by ``exp(d @ s)`` for some vector ``d``,
its *degree*, as long as some linear equations ``K @ s = 0`` hold.  Walking the
network's jaxpr once finds both: a leaf starts with a unit vector, data with
zero, and :data:`RULES` says what each primitive makes of its operands' degrees
and what it demands of them.

Nothing is computed here and nothing is known about layers: the paper's rules
for biases and normalisation layers come out of the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import math
import typing
from typing import Any, Literal, NamedTuple

import jax
from jax.extend import core
import jax.numpy as jnp
import numpy as np

from swr_optax._paths import module_of

Degree = np.ndarray
"""A float64 vector with one exponent for each leaf."""

Role = Literal["weight", "shift", "statistic", "frozen", "unused"]
"""What a leaf is to the network; see :class:`swr_optax.RescalingPlan`."""

Kind = Literal["exact", "unknown", "approximate"]
"""What a requirement is to the plan; see :class:`Requirement`."""

LARGEST_EPSILON = 1e-2
"""Numbers up to this size, added to a value, count as a numerical epsilon."""

LARGEST_CONSTANT = 1 << 16
"""Constant arrays with more elements are not looked into."""


class Value(NamedTuple):
    """What the walk knows about one value of the network.

    Attributes:
        degree: the exponents with which the leaves' scalers act on it.
        data: whether it depends on the network's inputs.
        leaf: the one leaf it is made of, as long as it is nothing else.
        layer: which weight, counted in network order, acted on it last (or -1).
        constant: the number that it holds everywhere, where that is known.
    """

    degree: Degree
    data: bool = False
    leaf: int | None = None
    layer: int = -1
    constant: float | None = None


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
        requirements: the rows of K, in network order.
        weights: the leaves that are weights, in network order.
        ranks: number of dimensions of the data that a leaf first acts on.
        layers: for a leaf that is not a weight, the position in ``weights`` of
            the layer that it belongs to (-1: it comes before all of them).
    """

    paths: Sequence[str]
    roles: dict[int, Role]
    scaled: Sequence[bool]
    requirements: list[Requirement] = dataclasses.field(default_factory=list)
    weights: list[int] = dataclasses.field(default_factory=list)
    ranks: dict[int, int] = dataclasses.field(default_factory=dict)
    layers: dict[int, int] = dataclasses.field(default_factory=dict)
    calls: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.statistics = [i for i, r in self.roles.items() if r == "statistic"]
        self.zero = np.zeros(len(self.paths))
        units = np.eye(len(self.paths))
        self.leaves = [
            Value(units[i] if scaled else self.zero, leaf=i)
            for i, scaled in enumerate(self.scaled)
        ]

    # Running through the jaxpr.

    def network(self, jaxpr: core.ClosedJaxpr) -> list[Value]:
        """Values of the outputs of a network.

        Args:
            jaxpr: its first arguments are the leaves, the others the inputs.
        """
        inputs = len(jaxpr.jaxpr.invars) - len(self.leaves)
        data = [Value(self.zero, data=True)] * inputs
        return self.run(jaxpr.jaxpr, jaxpr.consts, self.leaves + data)

    def run(
        self, jaxpr: core.Jaxpr, consts: Sequence[Any], args: Sequence[Value]
    ) -> list[Value]:
        """Values of a jaxpr's outputs for given values of its arguments."""
        known: dict[core.Var, Value] = dict(zip(jaxpr.invars, args, strict=True))
        for var, const in zip(jaxpr.constvars, consts, strict=True):
            known[var] = const if isinstance(const, Value) else self.constant(const)

        def read(atom: core.Var | core.Literal) -> Value:
            if isinstance(atom, core.Literal):
                return self.constant(atom.val)
            return known[atom]

        for eqn in jaxpr.eqns:
            results = self.apply(eqn, [read(atom) for atom in eqn.invars])
            known.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def apply(self, eqn: core.JaxprEqn, operands: list[Value]) -> list[Value]:
        """Values of one equation's results."""
        name = eqn.primitive.name
        if name in CALLS:
            inner = eqn.params[CALLS[name]]
            self.calls.append(str(eqn.params.get("name", "")))
            if isinstance(inner, core.ClosedJaxpr):
                results = self.run(inner.jaxpr, inner.consts, operands)
            else:
                results = self.run(inner, (), operands)
            self.calls.pop()
            return results

        rule = RULES.get(name, unknown)
        degree = rule(self, eqn, operands)
        leaves = {v.leaf for v in operands if v.leaf is not None or not is_fixed(v)}
        origin = Value(
            degree=degree,
            data=any(value.data for value in operands),
            leaf=leaves.pop() if len(leaves) == 1 and rule not in LOSSY else None,
            layer=max((self.layer_of(value) for value in operands), default=-1),
            constant=operands[0].constant if rule in (keep, cast) else None,
        )
        if name == "top_k":  # The second result holds indices.
            return [origin, origin._replace(degree=self.zero)]
        if name == "sort":  # Each operand is sorted on its own.
            return [origin._replace(degree=value.degree) for value in operands]
        return [origin] * len(eqn.outvars)

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
            call = next((call for call in reversed(self.calls) if call), None)
            place = f" (in {call.strip('_')})" if call else ""
            self.requirements.append(Requirement(row, kind, words + place))

    def multiplies(self, leaf: Value, other: Value) -> None:
        """Notes that a product with ``other`` may be what a leaf first does."""
        index = leaf.leaf
        if index is None or other.leaf == index:
            return
        if other.leaf is None and is_fixed(other):
            return  # A fixed array, such as a mask: the leaf is still itself.
        if index not in self.roles:
            self.roles[index] = "weight"
            self.weights.append(index)

    def acts(self, value: Value, rank: int) -> None:
        """Notes the rank of the data that a value without data acts on."""
        if not value.data:
            for index in np.flatnonzero(value.degree):
                self.ranks.setdefault(int(index), rank)

    def adds(self, leaf: Value, others: Sequence[Value]) -> None:
        """Notes that a sum with ``others`` may be what a leaf first does."""
        index = leaf.leaf
        others = [v for v in others if v.leaf != index and not is_neutral(v)]
        if index is not None and others and self.roles.get(index) != "weight":
            self.roles.setdefault(index, "shift")
            self.layers.setdefault(index, max(map(self.layer_of, others)))

    def layer_of(self, value: Value) -> int:
        """Position of the weight that acted on a value last, or is its leaf."""
        if value.leaf is not None and self.roles.get(value.leaf) == "weight":
            return self.weights.index(value.leaf)
        return value.layer

    def name(self, value: Value) -> str:
        """A value in words."""
        if value.leaf is not None:
            return self.paths[value.leaf]
        if value.layer >= 0:
            return module_of(self.paths[self.weights[value.layer]])
        if value.constant is not None:
            return f"the number {value.constant:g}"
        return "the input" if value.data else "a constant"


def is_fixed(value: Value) -> bool:
    """Whether a value is made of neither data nor leaves that scale."""
    return not (value.data or value.degree.any())


def is_neutral(value: Value) -> bool:
    """Whether a value is its own multiple: zero, infinite or undefined."""
    number = value.constant
    return number is not None and (number == 0 or not math.isfinite(number))


# The rules.  Each returns the degree of its primitive's results.


def keep(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """The first operand's degree; the others say where or how, not how much."""
    del walk, eqn
    return operands[0].degree


def forget(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Degree zero whatever comes in, as a sign or a position has."""
    del eqn, operands
    return walk.zero


def product(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Degrees add."""
    return _meet(walk, eqn, operands, +1)


def quotient(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Degrees subtract."""
    return _meet(walk, eqn, operands, -1)


def _meet(
    walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value], sign: int
) -> Degree:
    left, right = operands
    ranks = [_rank(atom) for atom in eqn.invars]
    walk.multiplies(left, right)
    walk.multiplies(right, left)
    if right.data:
        walk.acts(left, ranks[1])
    if left.data:
        walk.acts(right, ranks[0])
    if eqn.primitive.name in ("mul", "div"):
        _normalise(walk, left.degree, right, left.data, sign)
        _normalise(walk, sign * right.degree, left, right.data, 1)
    return left.degree + sign * right.degree


def _rank(atom: core.Var | core.Literal) -> int:
    return len(typing.cast(jax.core.ShapedArray, atom.aval).shape)


def _normalise(walk: Walk, degree: Degree, other: Value, data: bool, sign: int) -> None:
    """Demands that a running statistic cancels the scale of what it measured.

    In evaluation mode a stored deviation divides the data, and any change of it
    could be made good by the shift that follows.  In training mode the measured
    deviation is there instead and cancels the data's scale, so this does too.
    """
    statistics = walk.statistics
    if data and not other.data and other.degree[statistics].any():
        row = degree.copy()
        row[statistics] += sign * other.degree[statistics]
        names = ", ".join(walk.paths[i] for i in statistics if other.degree[i])
        walk.require(row, f"{names} must follow the scale of what it measures")


def power(exponent: float | str) -> Rule:
    """Degree times a fixed exponent, or times the parameter of that name."""

    def rule(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
        del walk
        factor = eqn.params[exponent] if isinstance(exponent, str) else exponent
        return factor * operands[0].degree

    return rule


def general_power(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Degree times the exponent if that is a known number."""
    base, exponent = operands
    if exponent.constant is None:
        return nonlinear(walk, eqn, operands)
    return exponent.constant * base.degree


def agree(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Operands must have one degree, which is the result's."""
    for value in operands:
        walk.adds(value, operands)
    bound = [value for value in operands if not is_neutral(value)]
    if not bound:
        return walk.zero
    name = eqn.primitive.name
    small = [
        value
        for value in bound
        if value.constant is not None and abs(value.constant) <= LARGEST_EPSILON
    ]
    large = [value for value in bound if not any(value is other for other in small)]
    first, *rest = large or small
    for value in rest:
        walk.require(
            first.degree - value.degree,
            f"{walk.name(first)} and {walk.name(value)} meet in {name!r} and must"
            " share one scale",
        )
    for value in small:
        walk.require(
            first.degree,
            f"{walk.name(first)} meets the constant {value.constant:.3g} in"
            f" {name!r}: exact up to the order of that number over the value",
            "approximate",
        )
    return first.degree


def select(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """The cases must agree; the first operand, which has no scale, chooses."""
    return agree(walk, eqn, operands[1:])


def compare(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Operands must agree; true or false has no scale."""
    agree(walk, eqn, operands)
    return walk.zero


def update_slice(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """The array and what is written into it must agree; the rest are indices."""
    return agree(walk, eqn, operands[:2])


def scatter(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """The array and the updates must agree; between them are indices."""
    array, _, updates = operands
    return agree(walk, eqn, [array, updates])


def lookup(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """A table's degree; looking things up by the data is a product with it."""
    table, indices = operands
    if indices.data:
        walk.multiplies(table, indices)
        walk.acts(table, _rank(eqn.outvars[0]))
    return table.degree


def cast(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Degree passes between floating-point types, and is lost in integers."""
    if jnp.issubdtype(eqn.params["new_dtype"], jnp.inexact):
        return operands[0].degree
    return nonlinear(walk, eqn, operands)


def nonlinear(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """Operands must have degree zero, and the result has."""
    for value in operands:
        walk.require(
            value.degree,
            f"{walk.name(value)} feeds {eqn.primitive.name!r}, which is not"
            " homogeneous: its scale must not change",
        )
    return walk.zero


def unknown(walk: Walk, eqn: core.JaxprEqn, operands: Sequence[Value]) -> Degree:
    """What is not in the table may do anything, so nothing that it takes scales."""
    for value in operands:
        walk.require(
            value.degree,
            f"{walk.name(value)} feeds {eqn.primitive.name!r}, for which there is no"
            " rule: its scale must not change",
            "unknown",
        )
    return walk.zero


RULES: dict[str, Rule] = {
    # Degrees add or subtract.
    "mul": product,
    "dot_general": product,
    "conv_general_dilated": product,
    "div": quotient,
    # Degree times an exponent.
    "square": power(2),
    "sqrt": power(1 / 2),
    "rsqrt": power(-1 / 2),
    "cbrt": power(1 / 3),
    "integer_pow": power("y"),
    "pow": general_power,
    # Degree passes through.
    "abs": keep,
    "neg": keep,
    "copy": keep,
    "real": keep,
    "imag": keep,
    "conj": keep,
    "name": keep,
    "stop_gradient": keep,
    "reduce_precision": keep,
    "sharding_constraint": keep,
    "reshape": keep,
    "broadcast_in_dim": keep,
    "transpose": keep,
    "squeeze": keep,
    "rev": keep,
    "slice": keep,
    "split": keep,
    "dynamic_slice": keep,
    "sort": keep,
    "top_k": keep,
    "reduce_sum": keep,
    "reduce_max": keep,
    "reduce_min": keep,
    "reduce_window_sum": keep,
    "reduce_window_max": keep,
    "reduce_window_min": keep,
    "cumsum": keep,
    "cummax": keep,
    "cummin": keep,
    "convert_element_type": cast,
    "gather": lookup,
    # Operands must agree.
    "add": agree,
    "add_any": agree,
    "sub": agree,
    "max": agree,
    "min": agree,
    "clamp": agree,
    "complex": agree,
    "concatenate": agree,
    "pad": agree,
    "select_n": select,
    "dynamic_update_slice": update_slice,
    "scatter": scatter,
    "scatter-add": scatter,
    # Operands must agree, and the result has no scale.
    "eq": compare,
    "ne": compare,
    "lt": compare,
    "le": compare,
    "gt": compare,
    "ge": compare,
    # No scale comes out, whatever goes in.
    "sign": forget,
    "is_finite": forget,
    "argmax": forget,
    "argmin": forget,
    # Operands must not scale.
    "exp": nonlinear,
    "exp2": nonlinear,
    "expm1": nonlinear,
    "log": nonlinear,
    "log1p": nonlinear,
    "logistic": nonlinear,
    "tanh": nonlinear,
    "sin": nonlinear,
    "cos": nonlinear,
    "erf": nonlinear,
    "erfc": nonlinear,
    "erf_inv": nonlinear,
    "floor": nonlinear,
    "ceil": nonlinear,
    "round": nonlinear,
}
"""What each primitive does with degrees; any other one is :func:`unknown`."""

LOSSY: frozenset[Rule] = frozenset({compare, forget, nonlinear, unknown})
"""Rules after which a leaf is no longer what it was: ``exp(w)`` is no weight."""

CALLS: dict[str, str] = {
    "jit": "jaxpr",
    "closed_call": "call_jaxpr",
    "call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
"""Primitives that only wrap a jaxpr, and the parameter that holds it."""

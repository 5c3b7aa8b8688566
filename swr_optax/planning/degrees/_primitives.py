"""The table of primitives: one entry says all that planning knows about one.

To teach the planner a primitive, add an entry.  A primitive without one may do
anything with its inputs, so they must not be rescaled.  What contains jaxprs of
its own is in ``_traversal.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jax.extend import core
import numpy as np

from swr_optax.planning.degrees import _numbers, _rules, _slices
from swr_optax.planning.degrees._numbers import Fold, among, computed
from swr_optax.planning.degrees._rules import Rule
from swr_optax.planning.degrees._slices import Follow


def _never(eqn: core.JaxprEqn, about: object) -> bool:
    del eqn, about
    return False


def _always(eqn: core.JaxprEqn, about: object) -> bool:
    del eqn, about
    return True


Sign = Callable[[core.JaxprEqn, Sequence[bool]], bool]
"""Whether a result is positive, or zero, from whether the contents are."""


def _as_contents(eqn: core.JaxprEqn, positive: Sequence[bool]) -> bool:
    del eqn
    return all(positive)


def _even(eqn: core.JaxprEqn, positive: Sequence[bool]) -> bool:
    return all(positive) or eqn.params["y"] % 2 == 0


def _product(eqn: core.JaxprEqn, positive: Sequence[bool]) -> bool:
    left, right = eqn.invars
    return all(positive) or left is right


Guard = Callable[[core.JaxprEqn, int], bool]
"""Whether an operand of an equation is one that an epsilon keeps from zero."""


def _denominator(eqn: core.JaxprEqn, operand: int) -> bool:
    del eqn
    return operand == 1


def _inverted(eqn: core.JaxprEqn, operand: int) -> bool:
    return operand == 0 and eqn.params["y"] < 0


def _base(eqn: core.JaxprEqn, operand: int) -> bool:
    del eqn
    return operand == 0


class Primitive(NamedTuple):
    """What is known of a primitive.

    Attributes:
        degree: the degree of its results and what it demands of its operands.
        follow: where the slices of an operand are in the results.
        numbers: which numbers the results hold, from those in the contents.
        contents: the operands whose entries go into the results; the others are
            indices or predicates, which choose among them.
        lossy: whether a leaf is no longer what it was: ``exp(w)`` is no weight.
        separate: whether each result is made of the operand in the same position.
        noise: whether it makes random bits.
        guards: at which operands a small constant is a numerical epsilon.
        positive: whether the results are positive, or zero.
    """

    degree: Rule
    follow: Follow = _slices.mixed
    numbers: Fold = _numbers.anything
    contents: slice = slice(None)
    lossy: bool = False
    separate: bool = False
    noise: bool = False
    guards: Guard = _never
    positive: Sign = _never


def _rearrange(follow: Follow = _slices.mixed) -> Primitive:
    """Entries change their places; what else it takes are indices."""
    return Primitive(
        _rules.keep, follow, among, contents=slice(1), positive=_as_contents
    )


def _elementwise(
    degree: Rule,
    numbers: Fold = _numbers.anything,
    guards: Guard = _never,
    positive: Sign = _never,
) -> Primitive:
    return Primitive(
        degree, _slices.elementwise, numbers, guards=guards, positive=positive
    )


def _function(numbers: Fold = _numbers.anything) -> Primitive:
    """A function of each entry that is not homogeneous."""
    return Primitive(_rules.nonlinear, _slices.elementwise, numbers, lossy=True)


def _comparison(function: Callable[..., object] | None = None) -> Primitive:
    numbers = function and computed(function, of_integers=True)
    return Primitive(
        _rules.compare, _slices.elementwise, numbers or _numbers.anything, lossy=True
    )


def _reduction(degree: Rule, numbers: Fold) -> Primitive:
    follow = _slices.without_axes("axes")
    return Primitive(degree, follow, numbers, positive=_as_contents)


def _scattered(degree: Rule) -> Primitive:
    return Primitive(degree, _slices.scattered, contents=slice(0, 3, 2))


def _across_devices(numbers: Fold) -> Primitive:
    return Primitive(_rules.keep, numbers=numbers, separate=True)


def _clip(low: np.ndarray, value: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(value, low), high)


_ADD = computed(np.add, of_complex=True, of_integers=True)
_COMBINED = _numbers.combined

UNKNOWN = Primitive(_rules.unknown, lossy=True)
"""What is assumed of a primitive that is not in the table."""

PRIMITIVES: dict[str, Primitive] = {
    # Degrees add or subtract.
    "mul": _elementwise(_rules.product, _numbers.product, positive=_product),
    "div": _elementwise(_rules.quotient, _numbers.quotient, guards=_denominator),
    "dot_general": Primitive(_rules.product, _slices.contracted, _numbers.multiplied),
    "conv_general_dilated": Primitive(
        _rules.product, _slices.convolved, _numbers.multiplied
    ),
    "ragged_dot_general": Primitive(
        _rules.product, numbers=_numbers.multiplied, contents=slice(2)
    ),
    "triangular_solve": Primitive(_rules.solution),
    # Degree times an exponent.
    "square": _elementwise(_rules.power(2), computed(np.square), positive=_always),
    "sqrt": _elementwise(
        _rules.power(1 / 2), computed(np.sqrt), guards=_always, positive=_always
    ),
    "rsqrt": _elementwise(
        _rules.power(-1 / 2), computed(lambda x: 1 / np.sqrt(x)), guards=_always
    ),
    "cbrt": _elementwise(_rules.power(1 / 3), computed(np.cbrt), guards=_always),
    "integer_pow": _elementwise(
        _rules.power("y"), _numbers.exponentiated, guards=_inverted, positive=_even
    ),
    "pow": _elementwise(_rules.general_power, computed(np.power), guards=_base),
    "cholesky": Primitive(_rules.power(1 / 2)),
    "reduce_prod": _reduction(_rules.product_of_many, _numbers.anything),
    # Degree passes through, entry by entry.
    "abs": _elementwise(_rules.keep, computed(np.abs, True, True), positive=_always),
    "neg": _elementwise(_rules.keep, computed(np.negative, True, True)),
    "real": _elementwise(_rules.keep, computed(np.real, True)),
    "imag": _elementwise(_rules.keep, computed(np.imag, True)),
    "conj": _elementwise(_rules.keep, computed(np.conj, True)),
    "reduce_precision": _elementwise(_rules.reduce_precision),
    "convert_element_type": _elementwise(
        _rules.cast, _numbers.cast, positive=_as_contents
    ),
    # Degree passes through, and entries go elsewhere.
    "broadcast_in_dim": _rearrange(_slices.broadcast),
    "transpose": _rearrange(_slices.transposed),
    "reshape": _rearrange(_slices.reshaped),
    "squeeze": _rearrange(_slices.without_axes("dimensions")),
    "rev": _rearrange(_slices.unless_along("dimensions")),
    "tile": _rearrange(_slices.where_whole),
    "slice": _rearrange(_slices.where_whole),
    "dynamic_slice": _rearrange(_slices.where_whole),
    "split": _rearrange(_slices.unless_along("axis")),
    "unstack": _rearrange(_slices.unstacked),
    "gather": Primitive(
        _rules.lookup, _slices.gathered, _numbers.looked_up, contents=slice(1)
    ),
    "top_k": _rearrange(_slices.unless_along("axis")),
    "approx_top_k": _rearrange(_slices.unless_along("reduction_dimension")),
    "sort": Primitive(
        _rules.keep, _slices.unless_along("dimension"), among, separate=True
    ),
    # Degree passes through sums and extremes.
    "reduce_sum": _reduction(_rules.keep, _COMBINED),
    "reduce_max": _reduction(_rules.keep, among),
    "reduce_min": _reduction(_rules.keep, among),
    "cumsum": Primitive(_rules.keep, _slices.unless_along("axis"), _COMBINED),
    "cummax": Primitive(_rules.keep, _slices.unless_along("axis"), among),
    "cummin": Primitive(_rules.keep, _slices.unless_along("axis"), among),
    **dict.fromkeys(
        ["reduce_window_sum", "reduce_window_max", "reduce_window_min"],
        Primitive(_rules.keep, _slices.windowed, _numbers.padded),
    ),
    "fft": Primitive(_rules.keep, _slices.transformed, _COMBINED),
    # The same, across devices or a mapped axis.
    **dict.fromkeys(
        ["psum", "psum_invariant", "reduce_scatter"], _across_devices(_COMBINED)
    ),
    **dict.fromkeys(
        ["pmax", "pmin", "all_gather", "all_to_all"], _across_devices(among)
    ),
    "ppermute": _across_devices(_COMBINED),  # Who receives nothing gets zeros.
    # Operands must agree.
    "add": _elementwise(_rules.agree_up_to_epsilon, _ADD, positive=_as_contents),
    "add_any": _elementwise(_rules.agree, _ADD),
    "sub": _elementwise(_rules.agree_up_to_epsilon, computed(np.subtract, True, True)),
    "max": _elementwise(
        _rules.agree_up_to_epsilon, computed(np.maximum, of_integers=True)
    ),
    "min": _elementwise(_rules.agree, computed(np.minimum, of_integers=True)),
    "clamp": _elementwise(_rules.agree, computed(_clip, of_integers=True)),
    "rem": _elementwise(_rules.agree),
    "complex": _elementwise(_rules.agree, computed(_numbers.complex_of)),
    "concatenate": Primitive(
        _rules.side_by_side, _slices.unless_along("dimension"), among
    ),
    "stack": Primitive(_rules.side_by_side, _slices.stacked, among),
    "pad": Primitive(_rules.side_by_side, _slices.where_whole, among),
    "select_n": Primitive(
        _rules.select, _slices.elementwise, among, contents=slice(1, None)
    ),
    "dynamic_update_slice": Primitive(
        _rules.update, _slices.updated, among, contents=slice(2)
    ),
    "scatter": _scattered(_rules.scatter),
    "scatter-add": _scattered(_rules.scatter_sum),
    "scatter-sub": _scattered(_rules.scatter_sum),
    "scatter-max": _scattered(_rules.scatter_sum),
    "scatter-min": _scattered(_rules.scatter_sum),
    "scatter-mul": _scattered(_rules.scatter_product),
    # Operands must agree, and the result has no scale.
    "eq": _comparison(np.equal),
    "ne": _comparison(np.not_equal),
    "lt": _comparison(np.less),
    "le": _comparison(np.less_equal),
    "gt": _comparison(np.greater),
    "ge": _comparison(np.greater_equal),
    **dict.fromkeys(["eq_to", "le_to", "lt_to", "atan2"], _comparison()),
    # No scale comes out, whatever goes in.
    "sign": Primitive(_rules.forget, _slices.elementwise, lossy=True),
    "is_finite": Primitive(_rules.finite, _slices.elementwise, lossy=True),
    "argmax": Primitive(_rules.forget, _slices.without_axes("axes"), lossy=True),
    "argmin": Primitive(_rules.forget, _slices.without_axes("axes"), lossy=True),
    "iota": Primitive(_rules.forget, numbers=_numbers.positions),
    "axis_index": Primitive(_rules.forget),
    # Random bits: not data, though a key may be an input.
    **dict.fromkeys(
        [
            "random_bits",
            "random_clone",
            "random_fold_in",
            "random_gamma",
            "random_seed",
            "random_split",
            "random_unwrap",
            "random_wrap",
            "rng_bit_generator",
            "rng_uniform",
            "threefry2x32",
        ],
        Primitive(_rules.nonlinear, lossy=True, noise=True),
    ),
    # Operands must not scale.
    "exp": _function(computed(np.exp)),
    "log": _function(computed(np.log)),
    "tanh": _function(computed(np.tanh)),
    "not": _function(computed(np.logical_not)),
    "and": _function(computed(np.logical_and)),
    "or": _function(computed(np.logical_or)),
    **dict.fromkeys(
        [
            "acos",
            "acosh",
            "asin",
            "asinh",
            "atan",
            "atanh",
            "bessel_i0e",
            "bessel_i1e",
            "bitcast_convert_type",
            "ceil",
            "clz",
            "cos",
            "cosh",
            "digamma",
            "erf",
            "erf_inv",
            "erfc",
            "exp2",
            "expm1",
            "floor",
            "igamma",
            "igammac",
            "lgamma",
            "log1p",
            "logistic",
            "nextafter",
            "polygamma",
            "population_count",
            "regularized_incomplete_beta",
            "round",
            "shift_left",
            "shift_right_arithmetic",
            "shift_right_logical",
            "sin",
            "sinh",
            "tan",
            "xor",
            "zeta",
        ],
        _function(),
    ),
    **dict.fromkeys(
        ["cumlogsumexp", "cumprod"],
        Primitive(_rules.nonlinear, _slices.unless_along("axis"), lossy=True),
    ),
    **dict.fromkeys(
        ["reduce_and", "reduce_or"],
        Primitive(
            _rules.nonlinear,
            _slices.without_axes("axes"),
            _numbers.among_booleans,
            lossy=True,
        ),
    ),
    "reduce_xor": Primitive(_rules.nonlinear, _slices.without_axes("axes"), lossy=True),
}
"""What each primitive does; :data:`UNKNOWN` is for any other."""

IDENTITIES = frozenset(
    [
        "copy",
        "copy_p",
        "device_put",
        "mesh_cast",
        "name",
        "optimization_barrier",
        "pvary",
        "reshard",
        "sharding_constraint",
        "stop_gradient",
    ]
)
"""Primitives of which each result is the operand in the same position."""

INDICES_SECOND = ("top_k", "approx_top_k")
"""Primitives whose second result holds indices."""

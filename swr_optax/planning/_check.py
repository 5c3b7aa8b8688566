"""Numeric proof that a plan preserves a user's own network."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from swr_optax.planning._arguments import array_leaves, check_function, check_plan
from swr_optax.planning._rescale import leaf_log_scalers, rescale, scaled
from swr_optax.planning.plan import RescalingPlan
from swr_optax.planning.plan._outputs import output_names
from swr_optax.planning.plan._shown import shown


class Check(NamedTuple):
    """What :func:`check` measures.

    Attributes:
        deviation: the largest difference between an output of the rescaled
            network and the old output times the plan's constant, relative to the
            largest entry of that output; infinite if entries that are not finite
            came or went.
        agreement: share of equal argmaxes along the outputs' last axes; of the
            magnitudes if they are complex.
    """

    deviation: float
    agreement: float


def check(
    plan: RescalingPlan,
    fn: Callable[..., Any],
    params: Any,
    *inputs: Any,
    stats: Any = None,
    trials: int = 3,
    largest_log_scaler: float = 0.3,
    seed: int = 0,
) -> Check:
    """Rescales a network by random scalers and compares its outputs.

    A plan of which nothing is ``unmet`` deviates by rounding, about 1e-6 in
    float32, and by the order of what its ``approximations`` name.

    Example:
        >>> import jax, jax.numpy as jnp, swr_optax
        >>> def apply(params, x):
        ...     return jax.nn.relu(x @ params["w1"] + params["b1"]) @ params["w2"]
        >>> keys = jax.random.split(jax.random.key(0), 4)
        >>> params = {"w1": jax.random.normal(keys[0], (4, 8)),
        ...           "b1": jax.random.normal(keys[1], (8,)),
        ...           "w2": jax.random.normal(keys[2], (8, 3))}
        >>> x = jax.random.normal(keys[3], (16, 4))
        >>> plan = swr_optax.plan_rescaling(apply, params, x)
        >>> result = swr_optax.check(plan, apply, params, x)
        >>> result.deviation < 1e-5, result.agreement
        (True, 1.0)

    Args:
        plan: made from ``fn`` and parameters like these.
        fn: ``fn(params, *inputs)``, or ``fn(params, stats, *inputs)`` if there
            are ``stats``.  It may be another mode of the network that the plan
            was made from, such as evaluation.
        params: arrays; biases that are zero hide mistakes.
        *inputs: arrays.
        stats: running statistics, which are rescaled along.
        trials: number of random scalings.
        largest_log_scaler: scalers are drawn from ``exp(±largest_log_scaler)``.
        seed: determines the scalers.

    Returns:
        The worst over all outputs and trials.

    Raises:
        ValueError: if the plan is not for these parameters or for this ``fn``, if
            ``trials`` or ``largest_log_scaler`` is not positive, or if an output
            has no finite entry even before rescaling.
        TypeError: if an argument is not of its type.
    """
    check_plan(plan)
    check_function(fn, "fn", "the network's function")
    _check_whole(trials, "trials")
    _check_whole(seed, "seed")
    if trials < 1:
        raise ValueError(f"trials must be at least 1, not {trials}")
    _check_largest(largest_log_scaler)
    plan.match_params(params)
    array_leaves(params, "params")
    if stats is not None:
        plan.match_statistics(stats)

    def outputs_of(params: Any, stats: Any) -> list[np.ndarray]:
        trees = (params,) if stats is None else (params, stats)
        # Trees of its own, since a network that is an object changes what it is given.
        returned = fn(*jax.tree.map(lambda leaf: leaf, (*trees, *inputs)))
        names = output_names(returned, stats)
        if tuple(name for name in names if name is not None) != plan.outputs:
            raise ValueError(
                f"fn returns {', '.join(filter(None, names))}, but the plan was"
                f" made for {', '.join(plan.outputs)}"
            )
        arrays = zip(names, jax.tree.leaves(returned), strict=True)
        return [_as_numbers(array) for name, array in arrays if name is not None]

    old = outputs_of(params, stats)
    for name, before in zip(plan.outputs, old, strict=True):
        if before.size and not np.isfinite(before).any():
            raise ValueError(
                f"fn returns no finite entry in {name}, so there is nothing to"
                " compare: give check parameters and inputs that it works for"
            )
    deviation, equal, compared = 0.0, 0, 0
    for key in jax.random.split(jax.random.key(seed), trials):
        log_scalers = jax.random.uniform(
            key,
            (len(plan.layers),),
            minval=-largest_log_scaler,
            maxval=largest_log_scaler,
        )
        new_stats = stats
        if stats is not None:
            factors = leaf_log_scalers(plan.exponents, log_scalers)
            new_stats = scaled(stats, plan.match_statistics(stats), factors, plan)
        new = outputs_of(rescale(params, log_scalers, plan), new_stats)
        constants = np.exp(plan.output_exponents @ np.asarray(log_scalers, np.float64))
        for before, after, constant in zip(old, new, constants, strict=True):
            if not before.size:
                continue
            deviation = max(deviation, _deviation(after, constant * before))
            same = _chosen(before) == _chosen(after)
            equal, compared = equal + int(same.sum()), compared + same.size
    return Check(deviation, equal / compared if compared else 1.0)


def _as_numbers(output: Any) -> np.ndarray:
    """An output as NumPy has it; of a random key the numbers inside."""
    if jnp.issubdtype(jnp.result_type(output), jax.dtypes.prng_key):
        output = jax.random.key_data(output)
    return np.asarray(output)


def _check_whole(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number, not {shown(value)}")


def _check_largest(value: Any) -> None:
    """Of nothing, or of what is no number, every plan would pass."""
    if not isinstance(value, (int, float, np.floating)):
        raise TypeError(f"largest_log_scaler must be a number, not {shown(value)}")
    if not 0 < value < math.inf:
        raise ValueError(f"largest_log_scaler must be above 0, not {value:g}")


def relative_deviation(
    found: jax.typing.ArrayLike, expected: jax.typing.ArrayLike
) -> jax.Array:
    """Largest difference over the largest expected entry; 0 if nothing differs."""
    expected = jnp.asarray(expected)
    difference = jnp.abs(jnp.asarray(found) - expected).max(initial=0.0)
    largest = jnp.abs(expected).max(initial=0.0)
    return jnp.where(difference == 0, 0.0, difference / largest)


def _chosen(output: np.ndarray) -> jax.Array:
    """The argmax along the last axis."""
    values = jnp.atleast_1d(output)
    return (jnp.abs(values) if jnp.iscomplexobj(values) else values).argmax(-1)


def _deviation(found: np.ndarray, expected: np.ndarray) -> float:
    """That of the finite entries; infinite if others are not finite than should."""
    finite = np.isfinite(expected)
    others = found[~finite], expected[~finite]
    if not (np.isfinite(found) == finite).all() or not np.array_equal(
        *others, equal_nan=True
    ):
        return math.inf
    return float(relative_deviation(found[finite], expected[finite]))

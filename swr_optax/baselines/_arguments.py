"""Arguments that several remedies take, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from swr_optax._arguments import check_scalar, is_placeholder
from swr_optax._updates import other_structure
from swr_optax.planning.plan._paths import is_masked, named_leaves

Scalar: TypeAlias = jax.typing.ArrayLike | optax.Schedule
"""A number, traced or not, or a schedule: a function from step to such a number."""


def check_number(
    value: Any, name: str, *, most: float = math.inf, schedule: bool = False
) -> None:
    """Refuses what is no number from 0 to ``most``; traced ones go unchecked.

    Raises:
        TypeError: for another type.
        ValueError: for a number outside the range, or an array with a shape.
    """
    if schedule and callable(value):
        return
    upto = "up" if most == math.inf else f"to {most:g}"
    or_schedule = " or a schedule" if schedule else ""
    check_scalar(value, name, f"a number from 0 {upto}{or_schedule}")
    if isinstance(value, jax.core.Tracer) or 0 <= value <= most:
        return
    if most == math.inf:
        raise ValueError(f"{name} must not be negative, not {float(value):g}")
    raise ValueError(f"{name} must be from 0 to {most:g}, not {float(value):g}")


def check_interval(value: Any, name: str) -> None:
    """Refuses what is no whole number of steps.

    Raises:
        TypeError: if it is not a whole number.
        ValueError: if it is below one.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number of steps, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")


def check_params(params: Any, name: str) -> None:
    """Refuses an ``update`` without the parameters.

    Raises:
        ValueError: if there are none.
    """
    if params is None:
        raise ValueError(
            f"{name} needs the parameters: call update(updates, state, params)"
        )


def check_real(params: Any, name: str) -> None:
    """Refuses complex parameters, which have no order to clip or to sort by.

    Raises:
        TypeError: naming one.
    """
    for path, leaf in named_leaves(params):
        if not is_masked(leaf) and jnp.iscomplexobj(leaf):
            raise TypeError(f"{name} is for real parameters, and {path} is complex")


def check_optimizer(inner: Any) -> None:
    """Refuses what is no gradient transformation.

    Raises:
        TypeError: if it has no ``init`` or no ``update``.
    """
    if not (hasattr(inner, "init") and hasattr(inner, "update")):
        raise TypeError(
            "inner must be an optimiser such as optax.adam(1e-3), not"
            f" {type(inner).__name__}"
        )


def check_alike(tree: Any, params: Any, name: str) -> None:
    """Refuses a tree that is not like the parameters.

    Raises:
        ValueError: if a leaf is missing, surplus or of another shape.
    """
    structure: Any = jax.tree.structure(params, is_leaf=is_masked)
    try:
        given = structure.flatten_up_to(tree)
    except ValueError:
        raise ValueError(other_structure(tree, params, name)) from None
    leaves = jax.tree.leaves(params, is_leaf=is_masked)
    for i, (leaf, value) in enumerate(zip(leaves, given, strict=True)):
        masked = is_masked(leaf) or is_masked(value)
        if not masked and np.shape(value) != np.shape(leaf):
            path, _ = named_leaves(params)[i]
            raise ValueError(
                f"{name} must be like params: {path} has shape {np.shape(value)}, not"
                f" {np.shape(leaf)}"
            )


def check_fresh(
    init_fn: Callable[[jax.Array], Any], key: jax.Array, params: Any
) -> None:
    """Refuses a function that makes other parameters than those that are trained.

    Raises:
        ValueError: if a leaf is missing, surplus or of another shape.
    """
    if not is_placeholder(params):
        check_alike(jax.eval_shape(init_fn, key), params, "what init_fn makes")


def value_at(value: Scalar, count: jax.Array) -> Any:
    """A number, or what a schedule says at a step."""
    return value(count) if callable(value) else value


def own_key(key: int | jax.Array) -> jax.Array:
    """A key for a state to keep, from a seed or from a key.

    It shares no memory with the one given, so that the state may be donated.

    Raises:
        TypeError: if it is neither.
    """
    if not isinstance(key, (int, np.integer, np.ndarray, jax.Array)):
        raise TypeError(f"key must be a seed or a key, not {type(key).__name__}")
    key = jax.random.key(key) if isinstance(key, (int, np.integer)) else key
    return jax.random.split(key, 1)[0]


def zero_count() -> jax.Array:
    """The step before the first."""
    return jnp.zeros((), jnp.int32)

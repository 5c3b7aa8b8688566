"""Arguments that several remedies take, and what is wrong with them."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from swr_optax._soft_weight_rescaling import check_scalar

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


def value_at(value: Scalar, count: jax.Array) -> Any:
    """A number, or what a schedule says at a step."""
    return value(count) if callable(value) else value


def own_key(key: int | jax.Array) -> jax.Array:
    """A key for a state to keep, from a seed or from a key.

    It shares no memory with the one given, so that the state may be donated.
    """
    key = jax.random.key(key) if isinstance(key, (int, np.integer)) else key
    return jax.random.split(key, 1)[0]


def zero_count() -> jax.Array:
    """The step before the first."""
    return jnp.zeros((), jnp.int32)

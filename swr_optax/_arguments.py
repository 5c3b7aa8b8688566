"""Numbers, steps, axes and parameters that users give, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax


def check_scalar(value: Any, name: str, allowed: str) -> None:
    """Refuses what is no real number, traced or not.

    Raises:
        TypeError: for another type.
        ValueError: for an array with a shape.
    """
    kind = str(getattr(value, "dtype", type(value).__name__))
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not plain and not (
        isinstance(value, (np.generic, np.ndarray, jax.Array))
        and kind.startswith(("int", "uint", "float", "bfloat"))
    ):
        raise TypeError(f"{name} must be {allowed}, not {kind}")
    if np.shape(value) != ():
        raise ValueError(
            f"{name} must be a scalar, not of shape {np.shape(value)}: use vmap for"
            " many coefficients"
        )


def check_axis_name(axis_name: Any) -> None:
    """Refuses what is neither an axis's name nor several.

    Raises:
        TypeError: for another type.
    """
    names = (axis_name,) if isinstance(axis_name, str) else axis_name
    if not isinstance(names, (tuple, list)) or not all(
        isinstance(name, str) for name in names
    ):
        raise TypeError(
            f"axis_name must be a name or a tuple of names, not {axis_name!r}"
        )


def whole_steps(reset_steps: Any) -> np.ndarray:
    """Steps as an int32 array.

    Raises:
        TypeError: if they are no list of known whole numbers.
        ValueError: if one is negative or does not fit.
    """
    if isinstance(reset_steps, jax.core.Tracer):
        raise TypeError(
            "reset_steps must be known numbers, not traced: close over them instead of"
            " passing them to a transformed function"
        )
    other = (str, bytes, Mapping)
    if isinstance(reset_steps, other) or not np.iterable(reset_steps):
        raise TypeError(
            f"reset_steps must be a list of steps, not {type(reset_steps).__name__}"
        )
    steps = list(reset_steps)
    for step in steps:
        whole = isinstance(step, (int, np.ndarray, np.generic, jax.Array))
        if (
            not whole
            or isinstance(step, bool)
            or not jnp.issubdtype(jnp.result_type(step), jnp.integer)
            or np.shape(step) != ()
        ):
            raise TypeError(f"reset_steps must be whole numbers, not {step!r}")
    if any(step < 0 for step in steps):
        raise ValueError(f"reset_steps must not be negative: {steps}")
    if any(step > np.iinfo(np.int32).max for step in steps):
        raise ValueError(f"reset_steps must be below 2**31: {steps}")
    return np.array(steps, np.int32)


def has_shapes(params: optax.Params) -> bool:
    """Whether shapes stand for some of the parameters."""
    return any(
        isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(params)
    )


def is_placeholder(params: optax.Params) -> bool:
    """Whether :func:`optax.tree.map_params` asks what in the state is parameters."""
    containers = (dict, list, tuple, type(None))
    return not jax.tree.leaves(params) and not isinstance(params, containers)

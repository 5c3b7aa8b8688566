"""The coefficient λ: what may be given for one, and what it is for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from swr_optax._arguments import check_scalar
from swr_optax.planning import RescalingPlan

Coefficient: TypeAlias = jax.typing.ArrayLike | optax.Schedule
"""A number from 0 to 1, or a schedule: a function from step to such a number."""


def coefficients_of_groups(
    coefficient: Coefficient | Mapping[str, Coefficient], plan: RescalingPlan
) -> dict[str, Coefficient]:
    """The coefficient of each group.

    Raises:
        TypeError: for what is no coefficient.
        ValueError: for a number outside [0, 1], or a mapping of other groups.
    """
    if not isinstance(coefficient, Mapping):
        _check_coefficient(coefficient, "coefficient")
        return dict.fromkeys(plan.groups, coefficient)
    unknown = [group for group in coefficient if group not in plan.groups]
    missing = [group for group in plan.groups if group not in coefficient]
    if unknown or missing:
        raise ValueError(
            f"coefficient must name the plan's groups {list(plan.groups)}:"
            f" unknown {unknown}, missing {missing}"
        )
    for group, value in coefficient.items():
        _check_coefficient(value, f"coefficient[{group!r}]")
    return dict(coefficient)


def _check_coefficient(value: Any, name: str) -> None:
    if callable(value):
        return
    allowed = "a number from 0 to 1, a schedule, or a mapping from groups to these"
    check_scalar(value, name, allowed)
    if not isinstance(value, jax.core.Tracer) and not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, not {float(value):g}")


def is_zero(value: Coefficient) -> bool:
    """Whether a coefficient is zero for good."""
    return isinstance(value, (int, float, np.number, np.ndarray)) and value == 0


def coefficients_of_layers(
    by_group: Mapping[str, Coefficient],
    plan: RescalingPlan,
    count: jax.Array,
    dtype: Any,
) -> jax.typing.ArrayLike:
    """The coefficient of each layer at a step; each schedule is called once."""
    values = [
        value(count) if callable(value) else value
        for value in (by_group[group] for group in plan.groups)
    ]
    for value in values:
        if np.shape(value) != ():
            raise ValueError(
                "coefficient's schedule must return a scalar, not shape"
                f" {np.shape(value)}"
            )
        check_scalar(value, "what coefficient's schedule returns", "a number")
    group_of = np.array([plan.groups.index(layer.group) for layer in plan.layers])
    if not any(isinstance(value, jax.Array) for value in values):
        together = np.array(values, dtype)
        return np.where(np.isnan(together), 0, np.clip(together, 0, 1))[group_of]
    coefficients = jnp.stack([jnp.asarray(value, dtype) for value in values])
    coefficients = jnp.clip(coefficients, 0, 1)
    coefficients = jnp.where(jnp.isnan(coefficients), 0, coefficients)
    return coefficients[group_of] if len(values) > 1 else coefficients

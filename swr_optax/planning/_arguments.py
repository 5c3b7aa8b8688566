"""Plans, functions and parameters that users give, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from swr_optax.planning.plan import RescalingPlan
from swr_optax.planning.plan._paths import is_masked, named_leaves


def check_plan(plan: Any, name: str = "plan") -> None:
    """Refuses what is no plan.

    Raises:
        TypeError: for another type, with what to do about a plan's text.
    """
    if isinstance(plan, RescalingPlan):
        return
    advice = "make one with plan_rescaling"
    if isinstance(plan, (str, bytes)):
        advice = "read its text with RescalingPlan.from_json"
    raise TypeError(
        f"{name} must be a RescalingPlan, not {type(plan).__name__}: {advice}"
    )


def check_function(value: Any, name: str, kind: str) -> None:
    """Refuses what cannot be called.

    Args:
        value: what was given.
        name: of the argument.
        kind: which function it should be.

    Raises:
        TypeError: if it is none.
    """
    if not callable(value):
        raise TypeError(f"{name} must be {kind}, not {type(value).__name__}")


def check_path_functions(**functions: Any) -> None:
    """Refuses what is neither None nor a function, of functions of a leaf's path.

    Raises:
        TypeError: for the first that is neither.
    """
    for name, function in functions.items():
        if function is not None:
            check_function(function, name, "a function of a leaf's path")


def check_names(value: Any, name: str) -> None:
    """Refuses what is no list of names.

    Raises:
        TypeError: for another type, a single name among them.
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(
            f"{name} must be a list of names, not {type(value).__name__}: put a"
            " single name in a list"
        )


def group_named(group: Any, path: str) -> str:
    """The group that a user's function names.

    Raises:
        TypeError: if it is no string.
    """
    if not isinstance(group, str):
        raise TypeError(
            f"group_fn must return a group's name, not {type(group).__name__}, which"
            f" it does for {path}"
        )
    return group


def array_leaves(tree: Any, name: str) -> list[Any]:
    """The arrays of a tree, in its order; and masked-out nodes as they are.

    A Python number becomes an array.

    Raises:
        TypeError: if there is a shape in place of an array.
    """
    leaves = jax.tree.leaves(tree, is_leaf=is_masked)
    for position, leaf in enumerate(leaves):
        if isinstance(leaf, jax.ShapeDtypeStruct):
            path, _ = named_leaves(tree)[position]
            raise TypeError(
                f"{name} must hold arrays, but {path} is a ShapeDtypeStruct: jax."
                "eval_shape gives the shapes of a result"
            )
    return [leaf if _is_ready(leaf) else jnp.asarray(leaf) for leaf in leaves]


def _is_ready(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") or is_masked(leaf)

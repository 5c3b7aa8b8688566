"""A network, traced once: its jaxpr and the names of what goes in and comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core

from swr_optax.planning.plan._leaf import check_inexact
from swr_optax.planning.plan._outputs import output_names
from swr_optax.planning.plan._paths import SEPARATOR, named_leaves


class Network(NamedTuple):
    """A network's jaxpr with the names of what goes in and comes out.

    Attributes:
        jaxpr: its first arguments are the leaves, the others the inputs.
        leaves: path and value, or shape, of each leaf: parameters, then statistics.
        parameters: how many of the leaves are parameters.
        outputs: name of each output; None for an updated statistic.
        returned: what ``fn`` returns, as shapes.
    """

    jaxpr: core.ClosedJaxpr
    leaves: list[tuple[str, Any]]
    parameters: int
    outputs: list[str | None]
    returned: Any


def trace(
    fn: Callable[..., Any], params: Any, stats: Any, inputs: Sequence[Any]
) -> Network:
    """The jaxpr of ``fn(params, *inputs)``, or of ``fn(params, stats, *inputs)``.

    Raises:
        TypeError: if a parameter is not of a floating-point type, or if a statistic
            or an input is no array.
    """
    param_leaves = named_leaves(params)
    for path, leaf in param_leaves:
        check_inexact(path, leaf)
    _check_arrays({"stats": stats, "inputs": tuple(inputs)})
    trees = (params,) if stats is None else (params, stats)
    jaxpr, shapes = jax.make_jaxpr(fn, return_shape=True)(*trees, *inputs)
    return Network(
        jaxpr,
        param_leaves + named_leaves(stats),
        len(param_leaves),
        output_names(shapes, stats),
        shapes,
    )


def _check_arrays(trees: dict[str, Any]) -> None:
    for path, leaf in jax.tree.leaves_with_path(trees):
        if not hasattr(leaf, "dtype") and not isinstance(leaf, (int, float, complex)):
            name = jax.tree_util.keystr(path, simple=True, separator=SEPARATOR)
            raise TypeError(f"{name} must be an array, not {type(leaf).__name__}")

"""Names of leaves: ``Dense_0/kernel`` for ``params["Dense_0"]["kernel"]``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

SEPARATOR = "/"


def named_leaves(
    tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> list[tuple[str, Any]]:
    """Path and value of each leaf, in the order of :func:`jax.tree.leaves`.

    A subtree that :func:`optax.masked` took out is one leaf, named for the
    place where it was.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf or is_masked)
    return [
        (jax.tree_util.keystr(_named(path), simple=True, separator=SEPARATOR), leaf)
        for path, leaf in leaves
    ]


def _named(path: tuple[Any, ...]) -> tuple[Any, ...]:
    """Without the attribute in which a Flax nnx variable holds its array."""
    inner = path and isinstance(path[-1], jax.tree_util.GetAttrKey)
    return path[:-1] if inner and path[-1].name == "value" else path


def is_masked(node: Any) -> bool:
    """Whether a node stands for a part that :func:`optax.masked` took out."""
    return isinstance(node, optax.MaskedNode)


def module_of(path: str) -> str:
    """Path without its last part: ``Block[3]`` for ``Block/kernel[3]``."""
    module, _, name = path.rpartition(SEPARATOR)
    _, bracket, index = name.partition("[")
    return module + bracket + index if module else name


def is_below(path: str, ancestor: str) -> bool:
    """Whether a path is that of a node or of something inside the node."""
    return not ancestor or path == ancestor or path.startswith(ancestor + SEPARATOR)

"""Names of leaves: ``Dense_0/kernel`` for ``params["Dense_0"]["kernel"]``."""

from __future__ import annotations

import collections
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
    place where it was.  An array that is the ``value`` of a node and all that
    the node holds, as in a Flax nnx variable, has the name of the node.

    Raises:
        ValueError: if two leaves have the same path.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf or is_masked)
    below = collections.Counter(
        path[:end] for path, _ in leaves for end in range(len(path))
    )
    named = [
        (
            jax.tree_util.keystr(
                path[:-1] if _is_value(path) and below[path[:-1]] == 1 else path,
                simple=True,
                separator=SEPARATOR,
            ),
            leaf,
        )
        for path, leaf in leaves
    ]
    times = collections.Counter(path for path, _ in named)
    twice = [path for path, count in times.items() if count > 1]
    if twice:
        raise ValueError(
            f"two leaves have the path {twice[0]!r}: rename one, so that a plan can"
            " tell them apart"
        )
    return named


def _is_value(path: tuple[Any, ...]) -> bool:
    """Whether the last step is to an attribute ``value`` of a node with a name."""
    key = path[-1] if len(path) > 1 else None
    return isinstance(key, jax.tree_util.GetAttrKey) and key.name == "value"


def is_masked(node: Any) -> bool:
    """Whether a node stands for a part that :func:`optax.masked` took out."""
    return isinstance(node, optax.MaskedNode)


def is_below(path: str, ancestor: str) -> bool:
    """Whether a path is that of a node or of something inside the node."""
    return not ancestor or path == ancestor or path.startswith(ancestor + SEPARATOR)

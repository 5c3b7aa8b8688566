"""The paper's plan for a chain of layers, from a list written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from swr_optax.planning._arguments import check_path_functions, group_named
from swr_optax.planning.degrees import Role
from swr_optax.planning.plan import RescalingPlan
from swr_optax.planning.plan._leaf import Leaf, check_inexact
from swr_optax.planning.plan._outputs import SOLE_OUTPUT
from swr_optax.planning.plan._paths import named_leaves
from swr_optax.planning.plan._shown import listed


class SequentialLayer(NamedTuple):
    """One layer of :func:`sequential_plan`, given by the paths of its leaves.

    Attributes:
        weight: path of the weight, or of a normalisation layer's scale.
        bias: path of the bias or shift, if there is one.
        normalizes: whether the layer forgets the scale of what comes in.
        mean: path of the running mean, if there is one.
        variance: path of the running variance, if there is one.
    """

    weight: str
    bias: str | None = None
    normalizes: bool = False
    mean: str | None = None
    variance: str | None = None


def sequential_plan(
    params: Any,
    layers: Sequence[SequentialLayer | Sequence[Any] | str],
    *,
    stats: Any = None,
    group_fn: Callable[[str], str] | None = None,
) -> RescalingPlan:
    r"""The paper's rules for a chain of layers, without tracing a network.

    Weight l is scaled by :math:`c_l` and bias l by :math:`c_k c_{k+1} \cdots
    c_l`, where k is the last normalisation layer up to l (or the first layer); a
    running mean and variance by what comes in front of their layer and its
    square.

    Example:
        >>> import jax.numpy as jnp, swr_optax
        >>> params = {"w1": jnp.ones((4, 8)), "b1": jnp.ones(8),
        ...           "w2": jnp.ones((8, 2)), "b2": jnp.ones(2)}
        >>> plan = swr_optax.sequential_plan(params, [("w1", "b1"), ("w2", "b2")])
        >>> plan.leaf_paths
        ('b1', 'b2', 'w1', 'w2')
        >>> plan.exponents
        array([[1., 0.],
               [1., 1.],
               [1., 0.],
               [0., 1.]])

    Args:
        params: pytree of arrays or :class:`jax.ShapeDtypeStruct`.
        layers: in network order, each a :class:`SequentialLayer`, a tuple of its
            fields, or just the path of a weight.
        stats: running statistics, if layers name any.
        group_fn: name of the group of the layer whose weight has this path.  By
            default ``"classifier"`` is what follows the last weight of more than
            two dimensions and its normalisation layers, or, where there is no
            such weight, the last weight alone; and ``"feature"`` is the rest.

    Returns:
        The plan, as :func:`plan_rescaling` makes it for such a network.  Leaves
        that no layer names are left alone.  The last axis of a weight is taken
        for its ``output_axes`` and the others for its ``input_axes``.

    Raises:
        ValueError: if there are no layers, if a path names no leaf or two
            layers name the same one, or if a bias has more dimensions than its
            weight.
        TypeError: if a parameter is not of a floating-point type, or if a layer is
            none of what ``layers`` may hold.
    """
    check_path_functions(group_fn=group_fn)
    chain = _layers(layers)
    if not chain:
        raise ValueError("layers is empty, so there is nothing to rescale")
    param_leaves, stat_leaves = named_leaves(params), named_leaves(stats)
    for path, leaf in param_leaves:
        check_inexact(path, leaf)
    leaves = param_leaves + stat_leaves
    rows = {path: row for row, (path, _) in enumerate(leaves)}
    for path, _ in stat_leaves:
        if path in dict(param_leaves):
            raise ValueError(
                f"params and stats both have a leaf {path!r}: rename one, so that"
                " layers can tell them apart"
            )
    shapes = [tuple(jnp.shape(leaf)) for _, leaf in leaves]

    exponents = np.zeros((len(leaves), len(chain)))
    roles: dict[int, Role] = {}
    owner: dict[int, int] = {}

    def follow(path: str | None, position: int, role: Role, row: np.ndarray) -> None:
        if path is None:
            return
        if path not in rows:
            raise ValueError(
                f"layers[{position}] names {path!r}, which is not a leaf: there are"
                f" {listed(rows)}"
            )
        if role != "statistic" and rows[path] >= len(param_leaves):
            raise ValueError(
                f"layers[{position}] names {path!r} as its"
                f" {'bias' if role == 'shift' else role}, which is in stats: name a"
                " parameter"
            )
        if rows[path] in owner:
            raise ValueError(f"layers[{position}] names {path!r}, named before")
        exponents[rows[path]] = row
        roles[rows[path]] = role
        owner[rows[path]] = position

    cumulative = np.zeros(len(chain))
    for position, layer in enumerate(chain):
        unit = np.eye(len(chain))[position]
        follow(layer.mean, position, "statistic", cumulative)
        follow(layer.variance, position, "statistic", 2 * cumulative)
        cumulative = unit if layer.normalizes else cumulative + unit
        follow(layer.weight, position, "weight", unit)
        follow(layer.bias, position, "shift", cumulative)
        if layer.bias is not None:
            sizes = [len(shapes[rows[path]]) for path in (layer.weight, layer.bias)]
            if 0 < sizes[0] < sizes[1]:
                raise ValueError(
                    f"layers[{position}] names {layer.weight!r} of {sizes[0]}"
                    f" dimensions as its weight and {layer.bias!r} of {sizes[1]} as its"
                    " bias: the weight comes first"
                )

    if group_fn is None:
        head = _first_of_classifier(chain, [shapes[rows[x.weight]] for x in chain])
        groups = ["classifier" if p >= head else "feature" for p in range(len(chain))]
    else:
        paths = [layer.weight for layer in chain]
        groups = [group_named(group_fn(path), path) for path in paths]
    return RescalingPlan(
        leaves=tuple(
            Leaf(
                path=path,
                shape=shapes[row],
                role=roles.get(row, "unused"),
                group=groups[owner.get(row, 0)],
                layer=_layer(roles.get(row, "unused"), owner.get(row, -1)),
                input_axes=_axes(roles.get(row, "unused"), shapes[row])[0],
                output_axes=_axes(roles.get(row, "unused"), shapes[row])[1],
            )
            for row, (path, _) in enumerate(leaves)
        ),
        weights=tuple(rows[layer.weight] for layer in chain),
        parameters=len(param_leaves),
        exponents=exponents,
        outputs=(SOLE_OUTPUT,),
        output_exponents=cumulative[None],
        left_alone=tuple(
            f"{path}, since no layer names it"
            for row, (path, _) in enumerate(param_leaves)
            if row not in owner
        ),
    )


def _layer(role: Role, owner: int) -> int:
    """Position of a leaf's layer; a running statistic measures the one before."""
    return owner - 1 if role == "statistic" else owner


def _axes(role: Role, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Axes of inputs and outputs, by convention: the last one is of outputs."""
    axes = tuple(range(len(shape)))
    if role == "weight":
        return axes[:-1], axes[-1:]
    return (), axes if role == "shift" else ()


def _layers(layers: Sequence[SequentialLayer | Sequence[Any] | str]) -> list[Any]:
    """The layers as :class:`SequentialLayer`, with fields of the right types."""
    if isinstance(layers, (str, SequentialLayer)) or not isinstance(layers, Iterable):
        raise TypeError(
            f"layers must be a list of layers, not {type(layers).__name__}: put a"
            " single layer in a list"
        )
    chain = []
    for position, given in enumerate(layers):
        name = f"layers[{position}]"
        fields = [given] if isinstance(given, str) else given
        if not isinstance(fields, (list, tuple)) or not 1 <= len(fields) <= 5:
            raise TypeError(
                f"{name} must be a path, or a tuple of up to five fields of"
                f" SequentialLayer, not {_shown(given)}"
            )
        layer = SequentialLayer(*fields)
        for field, value in layer._asdict().items():
            kind = (bool, np.bool_) if field == "normalizes" else str
            optional = field in ("bias", "mean", "variance") and value is None
            if not optional and not isinstance(value, kind):
                raise TypeError(
                    f"{name} has {_shown(value)} for {field}, which must be"
                    f" {'True or False' if kind is not str else 'a path'}"
                )
        chain.append(layer)
    return chain


def _shown(value: Any) -> str:
    """A value in a few words: a type's name for what may print on many lines."""
    simple = value is None or isinstance(value, (bool, int, float, str))
    return repr(value) if simple else f"a {type(value).__name__}"


def _first_of_classifier(
    chain: Sequence[SequentialLayer], shapes: Sequence[tuple[int, ...]]
) -> int:
    kernels = [p for p, shape in enumerate(shapes) if len(shape) > 2]
    if not kernels:
        return len(chain) - 1
    head = kernels[-1] + 1
    while head < len(chain) and chain[head].normalizes:
        head += 1
    return head

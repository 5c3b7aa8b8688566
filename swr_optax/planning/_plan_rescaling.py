"""From a network's own jaxpr to its plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from swr_optax.planning._constraints import Priority, solve_exponents, without_noise
from swr_optax.planning._outputs import output_names
from swr_optax.planning._paths import named_leaves
from swr_optax.planning._plan import Leaf, RescalingPlan, check_inexact, leaf_slices
from swr_optax.planning.degrees._degrees import Degree, Kind, Role, Walk
from swr_optax.planning.degrees._jaxpr_walk import (
    leaf_value,
    require_same_scale,
    unstacked,
    walk_network,
)
from swr_optax.planning.degrees._stacked_leaves import stacked_lengths

UNMET = 1e-6
"""A requirement that E misses by more than this is reported."""


def plan_rescaling(
    fn: Callable[..., Any],
    params: Any,
    *inputs: Any,
    stats: Any = None,
    priority: Priority = "norms",
    group_fn: Callable[[str], str] | None = None,
    exclude: Callable[[str], bool] | None = None,
    role_fn: Callable[[str], Literal["weight", "shift"] | None] | None = None,
    keep_outputs: Sequence[str] = (),
) -> RescalingPlan:
    r"""Finds out from a network's jaxpr which parameters scale with which.

    Every leaf :math:`i` of the variables may be multiplied by :math:`e^{s_i}`.
    The network's outputs change by no more than a constant if :math:`K s = 0`,
    where K is read off the jaxpr: factors add their exponents, and what is
    added, compared or concatenated must have equal ones.  The plan is the
    matrix E in :math:`s = E \log c`, with :math:`c` the scalers that SWR wants
    for the weights.  Nothing is guessed from names and nothing is computed.

    ``fn`` should be the network as it is trained: with batch statistics and
    dropout on, and returning the running statistics that it updates.

    Example:
        >>> import jax, jax.numpy as jnp, flax.linen as nn, swr_optax
        >>> net = nn.Sequential([nn.Dense(100), nn.relu, nn.Dense(10)])
        >>> images = jax.ShapeDtypeStruct((256, 784), jnp.float32)
        >>> params = jax.eval_shape(net.init, jax.random.key(0), images)["params"]
        >>> def apply(params, images):
        ...     return net.apply({"params": params}, images)
        >>> print(swr_optax.plan_rescaling(apply, params, images))
        RescalingPlan: 2 layers, 4 leaves, priority 'norms'
        <BLANKLINE>
        layer            shape    group       who follows it
        layers_0/kernel  784×100  feature     layers_0/bias, layers_2/bias
        layers_2/kernel  100×10   classifier  layers_2/bias
        <BLANKLINE>
        output × c(layers_0/kernel)·c(layers_2/kernel)

    Args:
        fn: ``fn(params, *inputs)``, or ``fn(params, stats, *inputs)`` if there
            are ``stats``; any pure JAX function.  If it returns a subtree like
            ``stats``, that is taken for the updated statistics and all else for
            the network's outputs.
        params: pytree of arrays or :class:`jax.ShapeDtypeStruct`, floating
            point.
        *inputs: pytrees of the same; not scaled.  Batched as in training, since
            the default groups go by how many dimensions data have.
        stats: running statistics, such as BatchNorm's mean and variance.
        priority: which promise wins where both cannot be kept: ``"norms"`` (the
            paper's) gives every weight its own scaler, so that no norm can grow
            without bound; ``"function"`` gives up as much of that as is needed
            for the outputs to change by no more than a constant.
        group_fn: name of the group of the layer whose weight has this path.  By
            default ``"classifier"`` is the trailing run of weights that act on
            plain (batch, feature) arrays after the last one that acts on images
            or sequences, or, where none does, the last weight alone; and
            ``"feature"`` is the rest.
        exclude: whether the parameter of this path is frozen: it is never
            scaled, and the others are planned around it.
        role_fn: role of the parameter of this path: ``"weight"`` makes it a layer
            with a norm and a scaler of its own, ``"shift"`` lets it follow the
            others, and None, as by default, leaves that to its first use.
        keep_outputs: names of outputs whose values must not even change by a
            constant, such as the value head of an actor-critic: the output's
            path in what ``fn`` returns (``"1"`` for the second of a tuple), or
            ``"output"`` if there is only one.

    Returns:
        The plan.  A weight whose norm is zero, now or at initialisation, has no
        scaler: the transformation leaves it alone.

    Raises:
        TypeError: if a parameter is not of a floating-point type.
        ValueError: if the network has no weights, or for an unknown priority,
            role or output.

    References:
        Oh, Park, Han and Kim, `Recovering Plasticity of Neural Networks via
        Soft Weight Rescaling <https://arxiv.org/abs/2507.04683>`_, 2025: the
        method for chains of layers, which this extends to any network.
    """
    if priority not in get_args(Priority):
        raise ValueError(
            f"priority must be one of {get_args(Priority)}, not {priority!r}"
        )
    param_leaves = named_leaves(params)
    for path, leaf in param_leaves:
        check_inexact(path, leaf)
    tree_leaves = param_leaves + named_leaves(stats)

    trees = (params,) if stats is None else (params, stats)
    jaxpr, shapes = jax.make_jaxpr(fn, return_shape=True)(*trees, *inputs)
    lengths = stacked_lengths(jaxpr, len(tree_leaves))
    leaves: list[Leaf] = []
    scaled: list[bool] = []
    places: list[int | slice] = []
    for k, (path, leaf) in enumerate(tree_leaves):
        role: Role = "statistic" if k >= len(param_leaves) else "unused"
        if role == "unused" and exclude is not None and exclude(path):
            role = "frozen"
        slices = leaf_slices(path, tuple(jnp.shape(leaf)), role, lengths.get(k))
        first, end = len(leaves), len(leaves) + len(slices)
        places.append(slice(first, end) if k in lengths else first)
        leaves += slices
        inexact = jnp.issubdtype(jax.dtypes.result_type(leaf), jnp.inexact)
        scaled += [inexact and role != "frozen"] * len(slices)

    walk = Walk(
        paths=[leaf.name for leaf in leaves],
        roles={i: leaf.role for i, leaf in enumerate(leaves) if leaf.role != "unused"},
        scaled=scaled,
        told={} if role_fn is None else _told_roles(leaves, role_fn),
    )
    values = walk_network(walk, jaxpr, places)
    if not walk.weights:
        raise ValueError(
            "fn multiplies its inputs by none of the parameters, so there is"
            f" nothing to rescale; params has {len(param_leaves)} leaves: is fn the"
            " whole forward pass of params?"
        )

    outputs: dict[str, Degree] = {}
    measured = iter(places[len(param_leaves) :])
    for name, value in zip(output_names(shapes, stats), values, strict=True):
        if name is None:
            require_same_scale(walk, leaf_value(walk, next(measured)), value)
        else:
            outputs[name] = unstacked(walk, value, f"returned in {name!r}").degree
    for name in keep_outputs:
        if name not in outputs:
            raise ValueError(
                f"keep_outputs names {name!r}, but fn returns {', '.join(outputs)}"
            )
        walk.require(outputs[name], f"output {name} must be kept")
    exact = [r.row for r in walk.requirements if r.kind != "approximate"]
    rows = np.unique(np.reshape(exact, (-1, len(leaves))), axis=0)
    exponents = solve_exponents(rows, walk.weights, priority)
    groups = _groups(walk, group_fn)

    def reported(*kinds: Kind) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(
                requirement.words
                for requirement in walk.requirements
                if requirement.kind in kinds
                and (
                    requirement.kind == "unknown"
                    or np.abs(requirement.row @ exponents).max() > UNMET
                )
            )
        )

    return RescalingPlan(
        leaves=tuple(
            dataclasses.replace(leaf, role=walk.roles.get(i, "unused"), group=groups[i])
            for i, leaf in enumerate(leaves)
        ),
        weights=tuple(walk.weights),
        parameters=sum(leaf.role != "statistic" for leaf in leaves),
        exponents=exponents,
        outputs=tuple(outputs),
        output_exponents=without_noise(
            np.reshape([*outputs.values()], (-1, len(leaves))) @ exponents
        ),
        priority=priority,
        unmet=reported("exact", "unknown"),
        approximations=reported("approximate"),
    )


def _told_roles(
    leaves: Sequence[Leaf], role_fn: Callable[[str], Role | None]
) -> dict[int, Role]:
    """Roles that the user gives."""
    told: dict[int, Role] = {}
    for i, leaf in enumerate(leaves):
        role = None if leaf.role == "statistic" else role_fn(leaf.path)
        if role not in ("weight", "shift", None):
            raise ValueError(
                f"role_fn gives {leaf.path} the role {role!r}: it must be 'weight',"
                " 'shift' or None"
            )
        if role is not None:
            told[i] = role
    return told


def _groups(walk: Walk, group_fn: Callable[[str], str] | None) -> list[str]:
    """Group of each leaf: that of its layer."""
    if group_fn is not None:
        by_layer = [group_fn(walk.paths[index]) for index in walk.weights]
    else:
        spatial = [w for w in walk.weights if walk.ranks.get(w, 0) > 2]
        # Layers side by side act at one moment; the last alone is the head.
        moments = {walk.moments[w] for w in walk.weights}
        head = max(moments)
        body = max(
            (walk.moments[w] for w in spatial),
            default=max(moments - {head}, default=-1),
        )
        by_layer = [
            "classifier" if walk.moments[w] > body else "feature" for w in walk.weights
        ]
    position_of = {index: position for position, index in enumerate(walk.weights)}
    return [
        by_layer[max(position_of.get(i, walk.layers.get(i, 0)), 0)]
        for i in range(len(walk.paths))
    ]

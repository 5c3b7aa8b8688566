"""From a network's own jaxpr to its plan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
import dataclasses
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from swr_optax.planning._arguments import (
    check_function,
    check_names,
    check_path_functions,
    group_named,
)
from swr_optax.planning._constraints import solve_exponents, without_noise
from swr_optax.planning._network import Network, trace
from swr_optax.planning.degrees import (
    Known,
    LayerAxes,
    Role,
    Value,
    Walk,
    leaf_value,
    walk_network,
    whole,
)
from swr_optax.planning.plan import Priority, RescalingPlan
from swr_optax.planning.plan._leaf import Leaf, leaf_slices
from swr_optax.planning.plan._shown import listed
from swr_optax.planning.units import Program, find_units

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
        group_fn: name of the group of the layer whose weight has this name: its path,
            and in a stack its number too, as ``Block/kernel[3]``.  By
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
        The plan.  It knows shapes, and no norms.

    Raises:
        TypeError: if a parameter is not of a floating-point type, an input is no
            array, or an option not of its type.
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
    check_function(fn, "fn", "the network's function")
    check_path_functions(exclude=exclude, group_fn=group_fn, role_fn=role_fn)
    check_names(keep_outputs, "keep_outputs")
    network = trace(fn, params, stats, inputs)
    walked = _walk(network, exclude, role_fn)
    walk, outputs = walked.walk, walked.outputs
    for name in keep_outputs:
        if name not in outputs:
            raise ValueError(
                f"keep_outputs names {name!r}, but fn returns {', '.join(outputs)}"
            )
        walk.require(outputs[name].degree, f"output {name} must be kept")
    rows = [r for r in walk.requirements if r.kind != "approximate"]
    exponents = solve_exponents(
        np.reshape([r.row for r in rows], (-1, len(walk.paths))),
        walk.weights,
        priority,
        [r.first for r in rows],
    )
    leaves = tuple(
        dataclasses.replace(
            leaf,
            role=role,
            group=group,
            layer=layer,
            input_axes=axes.inputs,
            output_axes=axes.outputs,
        )
        for leaf, role, group, layer, axes in zip(
            walked.leaves,
            _roles(walked, exponents),
            _groups(walk, group_fn),
            _layers(walk),
            _axes(walk),
            strict=True,
        )
    )
    found = find_units(
        Program(network.jaxpr),
        leaves,
        walked.rows,
        network.parameters,
        [name is None for name in network.outputs],
    )
    return RescalingPlan(
        leaves=leaves,
        weights=tuple(walk.weights),
        parameters=sum(leaf.role != "statistic" for leaf in walked.leaves),
        exponents=exponents,
        outputs=tuple(outputs),
        output_exponents=without_noise(
            np.reshape(
                [value.degree for value in outputs.values()], (-1, len(walk.paths))
            )
            @ exponents
        ),
        priority=priority,
        unmet=_unmet(walk, exponents),
        approximations=_approximations(walk, exponents),
        left_alone=_left_alone(walked, exponents),
        units=tuple(each.units for each in found),
    )


# The walk through the network.


class _Walked(NamedTuple):
    """What a walk through a network found.

    Attributes:
        walk: the requirements and roles.
        leaves: the plan's leaves, without groups; roles are those that were given.
        rows: for each of the network's leaves which of these it is; a slice for
            a stack.
        outputs: what is known of each output, by name.
    """

    walk: Walk
    leaves: list[Leaf]
    rows: list[int | slice]
    outputs: dict[str, Value]


def _walk(
    network: Network,
    exclude: Callable[[str], bool] | None,
    role_fn: Callable[[str], Role | None] | None,
) -> _Walked:
    """Walks through a network, with stacks taken apart if there are any."""
    for noise_is_data in (False, True):
        walked = _walk_once(network, (), noise_is_data, exclude, role_fn)
        influences = _influences(walked.outputs)
        stacks = walked.walk.stacks.found(
            [
                leaf
                for leaf in range(len(network.leaves))
                if leaf >= network.parameters or influences >> leaf & 1
            ]
        )
        if stacks:
            walked = _walk_once(network, stacks, noise_is_data, exclude, role_fn)
        if walked.walk.weights:
            return walked
    frozen = [leaf.name for leaf in walked.leaves if leaf.role == "frozen"]
    if frozen:
        raise ValueError(
            f"exclude leaves no weight to rescale: it holds for {listed(frozen)}"
        )
    raise ValueError(
        "fn multiplies its inputs by none of the parameters, so there is nothing to"
        f" rescale; params has {network.parameters} leaves: is fn the whole forward"
        " pass of params?"
    )


def _walk_once(
    network: Network,
    stacks: Collection[int],
    noise_is_data: bool,
    exclude: Callable[[str], bool] | None,
    role_fn: Callable[[str], Role | None] | None,
) -> _Walked:
    leaves: list[Leaf] = []
    scaled: list[bool] = []
    rows: list[int | slice] = []
    for k, (path, leaf) in enumerate(network.leaves):
        role: Role = "statistic" if k >= network.parameters else "unused"
        if role == "unused" and exclude is not None and exclude(path):
            role = "frozen"
        shape = tuple(jnp.shape(leaf))
        length = shape[0] if k in stacks else None
        slices = leaf_slices(path, shape, role, length)
        first, end = len(leaves), len(leaves) + len(slices)
        rows.append(first if length is None else slice(first, end))
        leaves += slices
        inexact = jnp.issubdtype(jax.dtypes.result_type(leaf), jnp.inexact)
        scaled += [inexact and role != "frozen"] * len(slices)
    walk = Walk(
        paths=[leaf.name for leaf in leaves],
        roles={i: leaf.role for i, leaf in enumerate(leaves) if leaf.role != "unused"},
        scaled=scaled,
        told={} if role_fn is None else _told_roles(leaves, role_fn),
        noise_is_data=noise_is_data,
    )
    results = walk_network(walk, network.jaxpr, rows)
    outputs: dict[str, Value] = {}
    measured = iter(rows[network.parameters :])
    for name, known in zip(network.outputs, results, strict=True):
        if name is None:
            _require_same_scale(walk, leaf_value(walk, next(measured)), known)
        else:
            value = walk.settled(whole(walk, known, f"returned in {name!r}"))
            walk.use_as_data(value)
            outputs[name] = value
    return _Walked(walk, leaves, rows, outputs)


def _require_same_scale(walk: Walk, given: Known, updated: Known) -> None:
    """Demands that a running statistic and its update scale alike."""
    if isinstance(given, Value) or isinstance(updated, Value):
        pairs = [(whole(walk, given), whole(walk, updated))]
    elif given.along == updated.along:
        pairs = list(zip(given.slices, updated.slices, strict=True))
    else:
        pairs = [(whole(walk, given), whole(walk, updated))]
    for before, after in pairs:
        if not after.scale_free:
            walk.require(
                walk.settled(after).degree - before.degree,
                f"{walk.name(before)} and its update must share one scale",
                first=True,
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
        paths = [walk.paths[index] for index in walk.weights]
        by_layer = [group_named(group_fn(path), path) for path in paths]
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
    return [by_layer[max(layer, 0)] for layer in _layers(walk)]


def _layers(walk: Walk) -> list[int]:
    """Position of each leaf's layer in ``weights``; -1 if it has none."""
    position_of = {index: position for position, index in enumerate(walk.weights)}
    return [position_of.get(i, walk.layers.get(i, -1)) for i in range(len(walk.paths))]


def _axes(walk: Walk) -> list[LayerAxes]:
    """Which axes of each leaf are a layer's inputs and outputs."""
    told = ("weight", "shift")
    return [
        walk.axes.get(i, LayerAxes()) if walk.roles.get(i) in told else LayerAxes()
        for i in range(len(walk.paths))
    ]


# What the plan says of itself.


def _roles(walked: _Walked, exponents: np.ndarray) -> list[Role]:
    """Each leaf's role; what never meets the data may still follow a weight."""
    return [
        walked.walk.roles.get(i, "shift" if row.any() else "unused")
        for i, row in enumerate(exponents)
    ]


def _unmet(walk: Walk, exponents: np.ndarray) -> tuple[str, ...]:
    """The requirements that E misses, and all of what has no rule."""
    return tuple(
        dict.fromkeys(
            requirement.words
            for requirement in walk.requirements
            if requirement.kind == "unknown"
            or (requirement.kind == "exact" and _misses(requirement.row, exponents))
        )
    )


def _approximations(walk: Walk, exponents: np.ndarray) -> tuple[str, ...]:
    """Where a rule for a value that is rescaled is not quite exact."""
    return tuple(
        dict.fromkeys(
            requirement.words
            for requirement in walk.requirements
            if requirement.kind == "approximate" and _misses(requirement.row, exponents)
        )
    )


def _misses(row: np.ndarray, exponents: np.ndarray) -> bool:
    return bool(np.abs(row @ exponents).max() > UNMET)


def _left_alone(walked: _Walked, exponents: np.ndarray) -> tuple[str, ...]:
    """The leaves that influence an output and never scale, with the reasons."""
    walk = walked.walk
    influences = _influences(walked.outputs)
    return tuple(
        f"{leaf.name}, since {_reason(walk, i)}"
        for i, leaf in enumerate(walked.leaves)
        if influences >> i & 1 and not exponents[i].any()
    )


def _influences(outputs: Mapping[str, Value]) -> int:
    """The leaves that influence an output, as bits."""
    together = 0
    for value in outputs.values():
        together |= value.influences
    return together


def _reason(walk: Walk, leaf: int) -> str:
    """Why a leaf never scales."""
    if walk.roles.get(leaf) == "frozen":
        return "it is excluded"
    if not walk.scaled[leaf]:
        return "it is not of a floating-point type"
    rows = [r for r in walk.requirements if r.kind != "approximate" and r.row[leaf]]
    if not rows:
        return "nothing that scales requires it to"
    return min(rows, key=lambda r: np.count_nonzero(r.row)).words

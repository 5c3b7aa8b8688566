"""What the fields of a plan have to do with each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from swr_optax.planning.plan._leaf import Leaf
from swr_optax.planning.plan._priority import Priority
from swr_optax.planning.plan._shown import shown
from swr_optax.planning.plan._units import Units, UnitSlices, are_apart

LARGEST_EXPONENT = 1e6
"""Of a product of a million factors; more would be a mistake, and could overflow."""

NOISE = 1e-6
"""How exactly the rows of weights are a projection."""


def check_leaves(
    leaves: Sequence[Leaf], parameters: int, weights: Sequence[int]
) -> None:
    """Leaves have names, roles, layers and axes that fit the plan's.

    Args:
        leaves: of the plan.
        parameters: how many of them are parameters.
        weights: the position of each layer's weight.

    Raises:
        ValueError: for the first that does not.
    """
    _check_names(leaves[:parameters])
    _check_names(leaves[parameters:])
    if not weights:
        raise ValueError("weights is empty, so there is no layer")
    if len({*weights}) < len(weights):
        raise ValueError("weights names a leaf twice")
    for position in weights:
        if leaves[position].role != "weight":
            raise ValueError(
                f"weights names leaf {position}, whose role is"
                f" {leaves[position].role!r}"
            )
    for row, leaf in enumerate(leaves):
        if leaf.role == "weight" and row not in weights:
            raise ValueError(
                f"leaf {shown(leaf.name)} has the role 'weight', but weights does not"
                " name it"
            )
        if row >= parameters and leaf.role not in ("statistic", "unused"):
            raise ValueError(
                f"leaf {shown(leaf.name)} has the role {leaf.role!r}, but is none of"
                f" the {parameters} parameters"
            )
        own = weights.index(row) if row in weights else None
        _check_axes(leaf, own, len(weights))


def check_exponents(
    exponents: np.ndarray,
    leaves: Sequence[Leaf],
    weights: Sequence[int],
    priority: Priority,
) -> None:
    """The matrix is one that a priority makes.

    Under ``"norms"`` each weight follows its own scaler alone, and under
    ``"function"`` the weights' rows are an orthogonal projection.

    Raises:
        ValueError: if it is another.
    """
    for leaf, row in zip(leaves, exponents, strict=True):
        if leaf.role in ("frozen", "unused") and row.any():
            raise ValueError(
                f"leaf {shown(leaf.name)} has the role {leaf.role!r}, but its"
                " exponents are not zero"
            )
    on_weights = exponents[list(weights)]
    if priority == "norms" and not np.array_equal(on_weights, np.eye(len(weights))):
        raise ValueError(
            "exponents must be one for a weight's own layer and zero for others, with"
            " priority 'norms'"
        )
    if not (
        np.allclose(on_weights, on_weights.T, rtol=0, atol=NOISE)
        and np.allclose(on_weights @ on_weights, on_weights, rtol=0, atol=NOISE)
    ):
        raise ValueError(
            "exponents of the weights must be a projection, with priority 'function'"
        )


def check_units(units: Units, leaves: Sequence[Leaf], name: str) -> None:
    """Units have slices that are there, of leaves with the right roles.

    Args:
        units: of the plan.
        leaves: of the plan.
        name: of the units, for the message.

    Raises:
        ValueError: if not.
    """
    sides = {
        "incoming": (units.incoming, ("weight", "shift", "unused")),
        "outgoing": (units.outgoing, ("weight", "shift", "unused")),
        "statistics": (units.statistics, ("statistic",)),
    }
    for side, (places, roles) in sides.items():
        if side != "statistics" and not places:
            raise ValueError(f"{name}.{side} is empty")
        for place in places:
            _check_slices(place, units.count, leaves, f"{name}.{side}")
            role = leaves[place.leaf].role
            if role not in roles:
                raise ValueError(f"{name}.{side} names a leaf of the role {role!r}")
        if not are_apart(places):
            raise ValueError(f"{name}.{side} has entries of a leaf twice")


def _check_slices(
    place: UnitSlices, count: int, leaves: Sequence[Leaf], name: str
) -> None:
    shape = leaves[place.leaf].shape if place.leaf < len(leaves) else ()
    end = shape[place.axis] if place.axis < len(shape) else 0
    length = place.stop - place.start
    if (
        not (length > 0 and place.stop <= end)
        or place.inner < 1
        or length % (count * place.inner)
    ):
        raise ValueError(f"{name} holds slices that its leaf does not have")


def _check_axes(leaf: Leaf, own: int | None, layers: int) -> None:
    """A leaf's layer is one of the plan's, and its axes are its own, each once."""
    if leaf.layer >= layers or own not in (None, leaf.layer):
        raise ValueError(
            f"leaf {shown(leaf.name)} has layer {shown(leaf.layer)}, which must be"
            f" {f'less than {layers}' if own is None else own}"
        )
    axes = (*leaf.input_axes, *leaf.output_axes)
    if len({*axes}) < len(axes) or any(axis >= len(leaf.shape) for axis in axes):
        raise ValueError(
            f"leaf {shown(leaf.name)} of {len(leaf.shape)} dimensions has axes"
            f" {shown(str(axes))}, of which one is twice or not there"
        )
    if (leaf.input_axes and leaf.role != "weight") or (
        leaf.output_axes and leaf.role not in ("weight", "shift")
    ):
        raise ValueError(
            f"leaf {shown(leaf.name)} of the role {leaf.role!r} has axes"
            f" {shown(str(axes))}, which are a weight's or shift's"
        )


def _check_names(leaves: Sequence[Leaf]) -> None:
    """A path is that of one leaf, or of slices counted from zero."""
    seen: set[str] = set()
    before: Leaf | None = None
    for leaf in leaves:
        follows = (
            before is not None
            and leaf.index is not None
            and before.index == leaf.index - 1
            and (before.path, before.shape) == (leaf.path, leaf.shape)
        )
        if not follows and (leaf.path in seen or leaf.index):
            raise ValueError(
                f"leaf {shown(leaf.name)} is there twice, or its slices are not in"
                " order"
            )
        seen.add(leaf.path)
        before = leaf

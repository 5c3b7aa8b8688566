"""In which order layers are dealt with: large weights alone, small ones together.

A weight that is finished before the next one begins needs no memory of its own for
its sum with the update; many small weights together need fewer kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from swr_optax._for_xla import entries
from swr_optax.planning import RescalingPlan
from swr_optax.planning.plan import Place, rows_of

ALONE_FROM = 2**17
"""Entries of a weight from which on it is dealt with before the next one begins."""

Turns: TypeAlias = list[tuple[int | None, np.ndarray]]
"""A leaf's position and its layers; or None, and all other layers."""


def turns_of(
    leaves: Sequence[Any],
    places: Sequence[Place],
    plan: RescalingPlan,
    separate: bool,
) -> Turns:
    """Which layers' scalers are found together: those of small weights.

    Args:
        leaves: the parameters after the step.
        places: where the plan has them.
        plan: says which of them are weights.
        separate: whether a weight's factor depends on its own norm alone.
    """
    layer_of = {row: layer for layer, row in enumerate(plan.weights)}
    turns: Turns = []
    rest = {*layer_of.values()}
    for i, (leaf, place) in enumerate(zip(leaves, places, strict=True)):
        layers = [layer_of.get(row) for row in rows_of(place)]
        large = leaf is not None and leaf.size >= ALONE_FROM
        if separate and large and layers and None not in layers:
            turns.append((i, np.array(layers)))
            rest -= {*layers}
    if rest or not turns:
        turns.append((None, np.array(sorted(rest), int)))
    return turns


def for_turns(vector: Any, turns: Turns) -> list[Any]:
    """Those entries of a vector that each turn needs; one for all layers is all."""
    if len(turns) == 1 or np.size(vector) == 1:
        return [vector] * len(turns)
    if isinstance(vector, np.ndarray):
        return [vector[layers] for _, layers in turns]
    each = entries(vector)
    return [
        each[layers[0]].reshape(1) if len(layers) == 1 else vector[layers]
        for _, layers in turns
    ]


def in_order(parts: Sequence[jax.Array], turns: Turns) -> jax.Array:
    """What was found in turns, in the order of the plan's layers."""
    if len(turns) == 1:
        return parts[0]
    layers = np.concatenate([layers for _, layers in turns])
    together = jnp.concatenate(parts)
    ascending = (layers[1:] > layers[:-1]).all()
    return together if ascending else together[np.argsort(layers)]

"""What rounding would swallow is owed, until it is large enough to survive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from swr_optax.planning import RescalingPlan
from swr_optax.planning._rescale import leaf_log_scalers
from swr_optax.planning.plan import Place, rows_of

SURVIVING_EPSILONS = 2
"""A factor that is off one by so many epsilons of a type survives rounding.

Fewer are rounded to none or to too many.  With more, norms lag further behind:
in bfloat16 an epsilon is 0.8 per cent.
"""

FULL_PRECISION = float(jnp.finfo(jnp.float32).eps)
"""Types with a larger epsilon have 16 bits or fewer."""


class Debts:
    """What each layer may owe, given the types of the leaves that follow it.

    With ``s = E @ log(c)`` for all leaves and P the rows of E that are weights,
    ``P @ owed`` is what the logarithms of the weights' norms will change by once
    all is paid.  Plans of priority ``"norms"`` have the identity for P.  Those of
    priority ``"function"`` have a projection: ``E @ P`` is E, so that ``P @
    log(c)`` says the same as ``log(c)`` without what cancels, and layers that
    are tied to each other pay together.

    Attributes:
        on_weights: the rows P of the exponents; shape (layers, layers).
        thresholds: |log c| from which on each layer pays; zero for one that owes
            nothing, ever; shape (layers,).
        separate: whether each weight's factor depends on its own norm alone.
        projects: whether P is a projection, and not separate.
    """

    def __init__(
        self,
        exponents: np.ndarray,
        leaves: Sequence[Any],
        places: Sequence[Place],
        plan: RescalingPlan,
    ) -> None:
        self.on_weights = exponents[[*plan.weights]]
        self.thresholds = np.zeros(len(plan.layers))
        for leaf, place in zip(leaves, places, strict=True):
            epsilon = 0.0 if place is None else float(jnp.finfo(leaf.dtype).eps)
            if epsilon > FULL_PRECISION:
                follows = exponents[[*rows_of(place)]].any(axis=0)
                survives = np.where(follows, SURVIVING_EPSILONS * epsilon, 0.0)
                self.thresholds = np.maximum(self.thresholds, survives)
        self.separate = np.array_equal(
            self.on_weights, np.diag(self.on_weights.diagonal())
        )
        self.projects = not self.separate and np.allclose(
            exponents @ self.on_weights, exponents
        )
        if self.projects:
            self.tied = _connected(self.on_weights != 0)
            self.thresholds = np.max(self.tied * self.thresholds, axis=1)

    def unheld(
        self, norms: jax.Array, owed: jax.Array, layers: np.ndarray
    ) -> jax.Array:
        """The norms that weights would have, had no rounding held them up.

        Args:
            norms: of the weights of some layers.
            owed: by the same layers.
            layers: which; all, unless the debts are separate.
        """
        if not self.thresholds[layers].any():
            return norms
        unpaid = owed if self.separate else leaf_log_scalers(self.on_weights, owed)
        return norms * jnp.exp(unpaid)

    def settle(
        self, log_scalers: jax.Array, owed: jax.Array, layers: np.ndarray
    ) -> tuple[jax.Array, jax.Array]:
        """Logarithms of the scalers to apply now, and of those still owed.

        Args:
            log_scalers: that this step wants of some layers.
            owed: by the same layers before this step.
            layers: which; all, unless the debts are separate.
        """
        thresholds = self.thresholds[layers]
        if not thresholds.any():
            return log_scalers, owed
        if self.projects:
            log_scalers = leaf_log_scalers(self.on_weights, log_scalers)
        wanted = owed + log_scalers
        due = jnp.abs(wanted) >= thresholds.astype(wanted.dtype)
        if self.projects:
            due = jnp.any(self.tied & due, axis=1)
        return jnp.where(due, wanted, 0.0), jnp.where(due, 0.0, wanted)


def _connected(edges: np.ndarray) -> np.ndarray:
    """Whether a path of edges leads from one layer to another."""
    reached = edges | np.eye(len(edges), dtype=bool)
    for _ in range(len(edges).bit_length()):  # Each round doubles the paths' length.
        reached = (reached.astype(float) @ reached) > 0
    return reached

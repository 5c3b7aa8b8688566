"""What rounding would swallow is owed, until it is large enough to survive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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

    Attributes:
        thresholds: |log c| from which on each layer pays; zero for one that owes
            nothing, ever; shape (layers,).
    """

    def __init__(
        self, exponents: np.ndarray, leaves: Sequence[Any], places: Sequence[Place]
    ) -> None:
        self.thresholds = np.zeros(exponents.shape[1])
        for leaf, place in zip(leaves, places, strict=True):
            epsilon = 0.0 if place is None else float(jnp.finfo(leaf.dtype).eps)
            if epsilon > FULL_PRECISION:
                follows = exponents[[*rows_of(place)]].any(axis=0)
                survives = np.where(follows, SURVIVING_EPSILONS * epsilon, 0.0)
                self.thresholds = np.maximum(self.thresholds, survives)

    def unheld(
        self, norms: jax.Array, owed: jax.Array, layers: np.ndarray
    ) -> jax.Array:
        """The norms that weights would have, had no rounding held them up.

        Args:
            norms: of the weights of some layers.
            owed: by the same layers.
            layers: which.
        """
        return norms * jnp.exp(owed) if self.thresholds[layers].any() else norms

    def settle(
        self, log_scalers: jax.Array, owed: jax.Array, layers: np.ndarray
    ) -> tuple[jax.Array, jax.Array]:
        """Logarithms of the scalers to apply now, and of those still owed.

        Args:
            log_scalers: that this step wants of some layers.
            owed: by the same layers before this step.
            layers: which.
        """
        thresholds = self.thresholds[layers]
        if not thresholds.any():
            return log_scalers, owed
        wanted = owed + log_scalers
        due = jnp.abs(wanted) >= thresholds.astype(wanted.dtype)
        return jnp.where(due, wanted, 0.0), jnp.where(due, 0.0, wanted)

"""Remedies that act on single units: wrappers of the optimiser that watch them."""

from swr_optax.baselines.units._continual_backprop import (
    ContinualBackpropState,
    continual_backprop,
)
from swr_optax.baselines.units._redo import ReDoState, redo
from swr_optax.baselines.units._self_normalized_resets import (
    SelfNormalizedResetsState,
    self_normalized_resets,
)

__all__ = [
    "ContinualBackpropState",
    "ReDoState",
    "SelfNormalizedResetsState",
    "continual_backprop",
    "redo",
    "self_normalized_resets",
]

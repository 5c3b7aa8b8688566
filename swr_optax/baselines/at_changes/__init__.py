"""Remedies that act when the data change: functions of the parameters."""

from swr_optax.baselines.at_changes._dash import accumulate_descent, dash
from swr_optax.baselines.at_changes._fire import fire
from swr_optax.baselines.at_changes._resets import reset_all, reset_head
from swr_optax.baselines.at_changes._shrink_and_perturb import shrink_and_perturb

__all__ = [
    "accumulate_descent",
    "dash",
    "fire",
    "reset_all",
    "reset_head",
    "shrink_and_perturb",
]

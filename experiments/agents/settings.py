"""What agents are compared on, by default, and their methods' coefficients."""

from __future__ import annotations

from typing import NamedTuple

from experiments.methods.coefficients import Coefficient


class Length(NamedTuple):
    """How long an agent's run is, and the network that learns.

    Attributes:
        levels: between two of them the environment changes.
        iterations: of each level: a rollout and the updates from it.
        seeds: how many agents.
        model: name in :data:`experiments.models.AGENT_MODELS`.
    """

    levels: int
    iterations: int
    seeds: int
    model: str


_SHIFTED = {
    "paper": Length(10, 200, 10, "actor_critic"),
    "quick": Length(10, 60, 2, "actor_critic_small"),
}
_PLAIN = {
    "paper": Length(1, 200, 10, "actor_critic_small"),
    "quick": Length(1, 100, 2, "actor_critic_small"),
}

LENGTHS: dict[str, dict[str, Length]] = {
    "cartpole": _SHIFTED,
    "acrobot": _SHIFTED,
    "minatar": {
        "paper": Length(9, 1000, 5, "actor_critic_images"),
        "quick": Length(3, 100, 2, "actor_critic_images"),
    },
    "cartpole_plain": _PLAIN,
    "acrobot_plain": _PLAIN,
}
"""By environment and profile."""

METHODS_COMPARED = (
    *("fresh", "vanilla", "layer_norm", "l2", "l2_init", "redo"),
    *("swr", "swr_function", "swr_kept"),
)
"""By default."""

AGENT_COEFFICIENTS: dict[str, Coefficient] = {
    "l2": 1e-3,
    "l2_init": 1e-3,
    "shrink_and_perturb": 0.5,
    "redo": 0.1,
    "continual_backprop": 1e-3,
    "swr": 1e-3,
    "swr_two": {"feature": 1e-2, "classifier": 1e-3},
    "swr_function": {"feature": 1e-3, "classifier": 1e-3},
    "swr_kept": {"feature": 1e-3, "classifier": 1e-3},
    "swr_directions": {"feature": 1e-3, "classifier": 1e-3, "direction": 3e-4},
}
"""The best of sweeps on CartPole in the profile ``quick``, on seeds of their own."""

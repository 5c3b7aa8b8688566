"""Proximal policy optimisation: advantages and losses as plain functions."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from experiments.models import Outputs
from experiments.training.step import Objective


class Ppo(NamedTuple):
    """Settings of PPO; the defaults are those of TRAC and C-CHAIN.

    Attributes:
        environments: that are played side by side.
        steps: of each between two updates.
        epochs: passes over these steps.
        batch: steps that one update of the parameters takes.
        clip: how far the probability of an action may move, as a ratio less one.
        entropy: weight of the policy's entropy.
        value: weight of the value's squared error.
        discount: γ.
        trace: λ of the generalised advantage estimation.
    """

    environments: int = 8
    steps: int = 100
    epochs: int = 5
    batch: int = 32
    clip: float = 0.2
    entropy: float = 0.01
    value: float = 0.5
    discount: float = 0.99
    trace: float = 0.95


class Played(NamedTuple):
    """What PPO learns of one step, (batch,) each.

    Attributes:
        action: int32.
        log_prob: of the action, when it was taken.
        advantage: of the action, not normalised.
        value: the discounted return that the value should have been.
    """

    action: jax.Array
    log_prob: jax.Array
    advantage: jax.Array
    value: jax.Array


def advantages(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    ended: jax.Array,
    discount: float,
    trace: float,
) -> jax.Array:
    r"""Generalised advantage estimates.

    .. math::
        \delta_t = r_t + \gamma (1 - \text{terminated}_t) V(s_{t+1}) - V(s_t), \quad
        A_t = \delta_t + \gamma \lambda (1 - \text{ended}_t) A_{t+1}

    An episode that was cut for its length ended without a terminal state, so what
    would have followed counts by its value.

    Args:
        rewards: (steps, ...), as all others.
        values: of the observations.
        next_values: of what the actions led to, before any new episode.
        terminated: whether a terminal state was reached.
        ended: whether the episode ended, for whatever reason.
        discount: γ.
        trace: λ.

    Returns:
        A, of the same shape.

    References:
        Schulman et al., *High-dimensional continuous control using generalized
        advantage estimation*, arXiv 1506.02438; Pardo et al., *Time limits in
        reinforcement learning*, arXiv 1712.00378.
    """
    errors = rewards + discount * (1 - terminated) * next_values - values

    def back(
        later: jax.Array, step: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        error, end = step
        advantage = error + discount * trace * (1 - end) * later
        return advantage, advantage

    last = jnp.zeros_like(errors[0])
    return jax.lax.scan(back, last, (errors, ended), reverse=True)[1]


def objective(ppo: Ppo) -> Objective:
    r"""PPO's clipped loss of each step.

    .. math::
        -\min(r A, \operatorname{clip}(r, 1 - \epsilon, 1 + \epsilon) A)
        + c_v (V - \hat V)^2 - c_e H, \qquad r = \pi(a) / \pi_\text{old}(a)

    with advantages normalised over the batch.

    References:
        Schulman et al., *Proximal policy optimization algorithms*, arXiv 1707.06347.
    """

    def losses(outputs: Outputs, played: Played) -> jax.Array:
        log_probs = jax.nn.log_softmax(outputs.policy)
        ratio = jnp.exp(chosen(log_probs, played.action) - played.log_prob)
        gain = played.advantage - jnp.mean(played.advantage)
        gain /= jnp.std(played.advantage) + 1e-8
        clipped = jnp.clip(ratio, 1 - ppo.clip, 1 + ppo.clip)
        return (
            -jnp.minimum(ratio * gain, clipped * gain)
            + ppo.value * jnp.square(outputs.value - played.value)
            - ppo.entropy * entropy(log_probs)
        )

    return Objective(
        losses=losses,
        correct=lambda _, played: jnp.zeros(len(played.action), jnp.bool),
    )


def chosen(log_probs: jax.Array, action: jax.Array) -> jax.Array:
    """The actions' own, of (..., actions)."""
    return jnp.take_along_axis(log_probs, action[..., None], -1)[..., 0]


def entropy(log_probs: jax.Array) -> jax.Array:
    """Of distributions over actions, in nats, from (..., actions)."""
    return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)


def explained_variance(values: jax.Array, returns: jax.Array) -> jax.Array:
    """How much of the returns' variance the values account for: 1 is all, 0 none.

    Returns:
        NaN if all returns are the same.
    """
    variance = jnp.var(returns)
    explained = 1 - jnp.var(returns - values) / variance
    return jnp.where(variance > 0, explained, jnp.nan)

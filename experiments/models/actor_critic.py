"""Actors and critics in Flax linen, in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.models._layers import dense, features, leaky_relu


class Outputs(NamedTuple):
    """What an actor-critic puts out.

    Attributes:
        policy: logits of the actions, (batch, actions).
        value: of the observations, (batch,).
    """

    policy: jax.Array
    value: jax.Array


HEADS = ("policy", "value")
"""The layers that put these out; SWR's classifiers."""


class ActorCritic(nn.Module):
    """A policy and a value, with a trunk of layers for each or one for both.

    Attributes:
        actions: number of the policy's logits.
        hidden: units of a trunk's layers.
        shared: whether there is one trunk for both.
        filters: of a convolution of 3×3 windows in front of a trunk, for images;
            0 for none.
        layer_norm: whether a LayerNorm stands in front of each nonlinearity.
    """

    actions: int
    hidden: Sequence[int] = (256, 256, 256)
    shared: bool = False
    filters: int = 0
    layer_norm: bool = False

    @nn.compact
    def __call__(
        self,
        observations: jax.Array,
        train: bool = False,
        present: jax.Array | None = None,
    ) -> Outputs:
        """Logits and values of observations, (batch, ...)."""
        del train, present
        actor = critic = self._trunk("trunk" if self.shared else "actor", observations)
        if not self.shared:
            critic = self._trunk("critic", observations)
        return Outputs(
            policy=dense(actor, self.actions, "policy"),
            value=dense(critic, 1, "value")[:, 0],
        )

    def _trunk(self, name: str, x: jax.Array) -> jax.Array:
        if self.filters:
            x = self._unit(windows(x), self.filters, f"{name}_windows")
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            x = self._unit(x, width, f"{name}_{i}")
        return features(self, x)

    def _unit(self, x: jax.Array, width: int, name: str) -> jax.Array:
        x = dense(x, width, name)
        if self.layer_norm:
            x = nn.LayerNorm(epsilon=1e-5, name=f"{name}_norm")(x)
        return leaky_relu(self, x, 0.1)


def windows(x: jax.Array, size: int = 3) -> jax.Array:
    """The windows of images: a dense layer on them is a convolution.

    On a CPU, where XLA's convolutions are slow inside a loop, its product is not.

    Args:
        x: (batch, height, width, channels).
        size: of the square windows.

    Returns:
        (batch, height − size + 1, width − size + 1, size · size · channels).
    """
    height, width = (side - size + 1 for side in x.shape[1:3])
    parts = [
        x[:, i : i + height, j : j + width] for i in range(size) for j in range(size)
    ]
    return jnp.concatenate(parts, axis=-1)


class AgentModel(NamedTuple):
    """An entry of :data:`AGENT_MODELS`.

    Attributes:
        build: the network for a number of actions.
        images: whether it takes images, not vectors.
    """

    build: Callable[..., nn.Module]
    images: bool = False


AGENT_MODELS: dict[str, AgentModel] = {
    "actor_critic": AgentModel(ActorCritic),
    "actor_critic_shared": AgentModel(partial(ActorCritic, shared=True)),
    "actor_critic_small": AgentModel(partial(ActorCritic, hidden=(64, 64))),
    "actor_critic_small_shared": AgentModel(
        partial(ActorCritic, hidden=(64, 64), shared=True)
    ),
    "actor_critic_images": AgentModel(
        partial(ActorCritic, hidden=(128,), filters=16), images=True
    ),
    "actor_critic_images_shared": AgentModel(
        partial(ActorCritic, hidden=(128,), filters=16, shared=True), images=True
    ),
}
"""By name; a new model is one entry."""

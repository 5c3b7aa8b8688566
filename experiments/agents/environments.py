"""Environments that change from level to level, on gymnax's."""

from __future__ import annotations

from collections.abc import Mapping
import functools
import importlib.util
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.errors import UserError


class Environment(NamedTuple):
    """An entry of :data:`ENVIRONMENTS`.

    Attributes:
        title: its name in reports.
        games: gymnax's names; level after level takes the next, and then the first
            again.
        shift: standard deviation of the vector that is added to all observations of a
            level but the first.
        longest: steps of an episode at most.
        shape: of an observation; what games have fewer of, channels, is filled up with
            zeros.
        actions: how many there are.
        rewards: what rewards are multiplied by for learning.
        random: mean return of actions that are drawn evenly, over games, as measured
            in episodes of this length.
        options: of gymnax's constructors.
        source: where it was published.
    """

    title: str
    games: tuple[str, ...]
    shift: float
    longest: int
    shape: tuple[int, ...]
    actions: int
    rewards: float
    random: float
    source: str
    options: Mapping[str, Any] = {}

    @property
    def changes(self) -> bool:
        """Whether one level is not as the next."""
        return bool(self.shift) or len(self.games) > 1

    def game(self, level: int) -> str:
        """The game of a level, from 1."""
        return self.games[(level - 1) % len(self.games)]

    def shift_at(self, level: int, seed: int) -> np.ndarray:
        """What is added to each observation, float32, the same for all methods.

        Args:
            level: from 1; at the first nothing is added.
            seed: of the run.
        """
        if level == 1 or not self.shift:
            return np.zeros(self.shape, np.float32)
        drawn = np.random.default_rng((seed, level)).standard_normal(self.shape)
        return (self.shift * drawn).astype(np.float32)


_TRAC = "Muppidi et al., arXiv 2405.16642; Tang et al., arXiv 2506.00592"

_CARTPOLE = Environment(
    title="CartPole with shifted observations",
    games=("CartPole-v1",),
    shift=2.0,
    longest=400,
    shape=(4,),
    actions=2,
    rewards=1 / 20,
    random=22.9,
    source=_TRAC,
)
_ACROBOT = Environment(
    title="Acrobot with shifted observations",
    games=("Acrobot-v1",),
    shift=2.0,
    longest=400,
    shape=(6,),
    actions=3,
    rewards=1 / 20,
    random=-399.6,
    source=_TRAC,
)

ENVIRONMENTS: dict[str, Environment] = {
    "cartpole": _CARTPOLE,
    "acrobot": _ACROBOT,
    "minatar": Environment(
        title="MinAtar's Breakout, Asterix and Space Invaders in turn",
        games=("Breakout-MinAtar", "Asterix-MinAtar", "SpaceInvaders-MinAtar"),
        shift=0.0,
        longest=1000,
        shape=(10, 10, 6),
        actions=6,
        rewards=1.0,
        random=1.26,
        source="Young and Tian, arXiv 1903.03176",
        options={"use_minimal_action_set": False},
    ),
    # As they are, to see that PPO learns at all.
    "cartpole_plain": _CARTPOLE._replace(
        title="CartPole", shift=0.0, longest=500, source="Barto et al., 1983"
    ),
    "acrobot_plain": _ACROBOT._replace(
        title="Acrobot", shift=0.0, longest=500, random=-499.0, source="Sutton, 1995"
    ),
}
"""By name; a new environment is one entry."""


def check_gymnax() -> None:
    """Checks that gymnax is installed.

    Raises:
        UserError: if it is not.
    """
    if importlib.util.find_spec("gymnax") is None:
        raise UserError("agents need gymnax: pip install 'swr-optax[rl]'")


class Stepped(NamedTuple):
    """What one step of a game leads to.

    Attributes:
        state: of the game, a new episode's if the last one ended.
        observation: in that state.
        successor: the observation that the action led to, whether or not the episode
            ended there.
        reward: as the game gives it.
        terminated: whether the game came to an end.
        truncated: whether the episode ended for its length alone.
    """

    state: Any
    observation: jax.Array
    successor: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array


class Game:
    """One of an environment's games as pure functions.

    Args:
        environment: that it belongs to.
        name: gymnax's.
    """

    def __init__(self, environment: Environment, name: str) -> None:
        import gymnax  # An extra, and slow to import.

        self._shape = environment.shape
        self._game, settings = gymnax.make(name, **environment.options)
        self._settings = settings.replace(max_steps_in_episode=environment.longest)

    def reset(self, key: jax.Array, shift: jax.Array) -> tuple[Any, jax.Array]:
        """State and observation of a new episode."""
        observation, state = self._game.reset(key, self._settings)
        return state, self._seen(observation, shift)

    def step(
        self, key: jax.Array, state: Any, action: jax.Array, shift: jax.Array
    ) -> Stepped:
        """Takes an action; a new episode begins where one ended."""
        observation, state, reward, terminated, truncated, more = self._game.step(
            key, state, action, self._settings
        )
        return Stepped(
            state=state,
            observation=self._seen(observation, shift),
            successor=self._seen(more["final_observation"], shift),
            reward=jnp.float32(reward),
            terminated=terminated,
            truncated=truncated,
        )

    def _seen(self, observation: jax.Array, shift: jax.Array) -> jax.Array:
        missing = self._shape[-1] - observation.shape[-1]
        sides = [(0, 0)] * (observation.ndim - 1) + [(0, missing)]
        return jnp.pad(jnp.float32(observation), sides) + shift


@functools.cache
def build_game(environment: str, name: str) -> Game:
    """A game by its names; one object, so that what is compiled is found again."""
    return Game(ENVIRONMENTS[environment], name)

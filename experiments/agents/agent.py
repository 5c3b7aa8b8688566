"""An agent: it plays, and learns from what it played, in one compiled program."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.agents.environments import Game
from experiments.agents.ppo import (
    Played,
    Ppo,
    advantages,
    chosen,
    entropy,
    explained_variance,
)
from experiments.protocols.records import OBSERVED
from experiments.training.lanes import Member
from experiments.training.step import Batch, TrainState, train_step
from experiments.training.training import Training, jitted


class AgentState(NamedTuple):
    """What a level changes.

    Attributes:
        learner: parameters and optimiser.
        games: states of the games that are played side by side.
        observations: in these states.
        returns: sums of the rewards of the episodes so far, as the games give them.
        key: of all that is drawn.
    """

    learner: TrainState
    games: Any
    observations: jax.Array
    returns: jax.Array
    key: jax.Array


class Seen(NamedTuple):
    """What one iteration measures.

    Attributes:
        ended: how many episodes ended.
        returned: the sum of their returns.
        entropy: of the policy, in nats, mean over the steps played.
        explained_variance: of the returns by the values, before the update.
        loss: mean over the steps learnt.
        gradient_norm: mean over updates.
    """

    ended: jax.Array
    returned: jax.Array
    entropy: jax.Array
    explained_variance: jax.Array
    loss: jax.Array
    gradient_norm: jax.Array


class _Step(NamedTuple):
    observation: jax.Array
    successor: jax.Array
    action: jax.Array
    log_prob: jax.Array
    entropy: jax.Array
    reward: jax.Array
    terminated: jax.Array
    ended: jax.Array
    returned: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Agent:
    """One method's agents, compiled once for all lanes.

    Functions take and return trees with a leading axis of a lane's members, as
    :class:`experiments.training.training.Training` does.

    Attributes:
        training: of the network, with PPO's objective.
        ppo: settings of PPO.
        rewards: what rewards are multiplied by for learning.
    """

    training: Training
    ppo: Ppo
    rewards: float

    def start(
        self, game: Game, learner: TrainState, shift: np.ndarray, keys: jax.Array
    ) -> AgentState:
        """Agents at the beginning of new episodes.

        Args:
            game: that they play.
            learner: their networks and optimisers.
            shift: added to observations, (members, ...).
            keys: of all that is drawn, (members,).
        """
        return self._start(game, learner, shift, keys)

    def learn(
        self,
        game: Game,
        state: AgentState,
        members: Member,
        shift: np.ndarray,
        iterations: int,
    ) -> tuple[AgentState, Seen, jax.Array]:
        """Plays and learns for some iterations.

        Args:
            game: that is played.
            state: before; its arrays are given away.
            members: of the lane, stacked.
            shift: added to observations, (members, ...).
            iterations: each is a rollout and the updates from it.

        Returns:
            The state after them, what was measured, (members, iterations), and some
            of the observations of the last rollout, (members, observations, ...).
        """
        return self._learn(game, iterations, state, members, shift)

    # What is compiled.

    @functools.cached_property
    def _start(self) -> Callable[..., AgentState]:
        def start(
            game: Game, learner: TrainState, shift: jax.Array, key: jax.Array
        ) -> AgentState:
            key, reset = jax.random.split(key)
            keys = jax.random.split(reset, self.ppo.environments)
            games, observations = jax.vmap(game.reset, (0, None))(keys, shift)
            returns = jnp.zeros(self.ppo.environments)
            return AgentState(learner, games, observations, returns, key)

        def lane(game: Game, *args: Any) -> AgentState:
            return jax.vmap(functools.partial(start, game))(*args)

        return jitted(lane, static_argnums=0)

    @functools.cached_property
    def _learn(self) -> Callable[..., tuple[AgentState, Seen, jax.Array]]:
        def learn(
            game: Game,
            iterations: int,
            state: AgentState,
            member: Member,
            shift: jax.Array,
        ) -> tuple[AgentState, Seen, jax.Array]:
            def iteration(
                carry: tuple[AgentState, jax.Array], _: None
            ) -> tuple[tuple[AgentState, jax.Array], Seen]:
                state, played = self._play(game, carry[0], shift)
                state, seen = self._improve(state, member, played)
                looked = _flat(played.observation)[: len(carry[1])]
                return (state, looked), seen

            size = min(OBSERVED, self.ppo.environments * self.ppo.steps)
            none = jnp.zeros((size, *state.observations.shape[1:]))
            (state, looked), seen = jax.lax.scan(
                iteration, (state, none), None, iterations
            )
            return state, seen, looked

        def lane(game: Game, iterations: int, *args: Any) -> Any:
            return jax.vmap(functools.partial(learn, game, iterations))(*args)

        return jitted(lane, static_argnums=(0, 1), donate_argnums=2)

    def _play(
        self, game: Game, state: AgentState, shift: jax.Array
    ) -> tuple[AgentState, _Step]:
        """A rollout: (steps, environments) of each."""
        network, learner = self.training.network, state.learner

        def step(
            carry: tuple[Any, jax.Array, jax.Array], key: jax.Array
        ) -> tuple[tuple[Any, jax.Array, jax.Array], _Step]:
            games, observations, returns = carry
            outputs: Any = network.predict(learner.params, learner.stats, observations)
            choose, *keys = jax.random.split(key, 1 + self.ppo.environments)
            action = jax.random.categorical(choose, outputs.policy)
            stepped = jax.vmap(game.step, (0, 0, 0, None))(
                jnp.stack(keys), games, action, shift
            )
            ended = stepped.terminated | stepped.truncated
            returns += stepped.reward
            log_probs = jax.nn.log_softmax(outputs.policy)
            played = _Step(
                observation=observations,
                successor=stepped.successor,
                action=action,
                log_prob=chosen(log_probs, action),
                entropy=entropy(log_probs),
                reward=stepped.reward,
                terminated=stepped.terminated,
                ended=ended,
                returned=returns,
            )
            returns = jnp.where(ended, 0, returns)
            return (stepped.state, stepped.observation, returns), played

        key, rollout = jax.random.split(state.key)
        (games, observations, returns), played = jax.lax.scan(
            step,
            (state.games, state.observations, state.returns),
            jax.random.split(rollout, self.ppo.steps),
        )
        return AgentState(learner, games, observations, returns, key), played

    def _improve(
        self, state: AgentState, member: Member, played: _Step
    ) -> tuple[AgentState, Seen]:
        """The updates from a rollout."""
        training, ppo, learner = self.training, self.ppo, state.learner
        setting = training.setting(member)
        transformation = training.transformation(setting)

        def value(observations: jax.Array) -> jax.Array:
            outputs: Any = training.network.predict(
                learner.params, learner.stats, _flat(observations)
            )
            return outputs.value.reshape(observations.shape[:2])

        values = value(played.observation)
        gains = advantages(
            played.reward * self.rewards,
            values,
            value(played.successor),
            played.terminated,
            played.ended,
            ppo.discount,
            ppo.trace,
        )
        returns = gains + values
        targets = Played(*map(_flat, (played.action, played.log_prob, gains, returns)))
        inputs = _flat(played.observation)

        def update(learner: TrainState, rows: jax.Array) -> tuple[TrainState, Any]:
            batch = Batch(
                inputs[rows],
                jax.tree.map(lambda x: x[rows], targets),
                jnp.ones(len(rows), jnp.bool),
            )
            return train_step(
                training.network,
                training.method,
                setting,
                transformation,
                training.objective,
                learner,
                batch,
            )

        key, order = jax.random.split(state.key)
        shuffled = [
            jax.random.permutation(key, len(inputs))
            for key in jax.random.split(order, ppo.epochs)
        ]
        rows = jnp.concatenate(shuffled).reshape(-1, ppo.batch)
        learner, measured = jax.lax.scan(update, learner, rows)
        seen = Seen(
            ended=jnp.sum(played.ended),
            returned=jnp.sum(played.returned, where=played.ended),
            entropy=jnp.mean(played.entropy),
            explained_variance=explained_variance(values, returns),
            loss=jnp.mean(measured.loss) / ppo.batch,
            gradient_norm=jnp.mean(measured.gradient_norm),
        )
        return state._replace(learner=learner, key=key), seen


def _flat(steps: jax.Array) -> jax.Array:
    """The steps of all environments one after the other."""
    return steps.reshape(-1, *steps.shape[2:])

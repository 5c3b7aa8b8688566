"""Agents that play and learn."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.agents.agent_loop import build_agent, run_agents
from experiments.agents.config import AgentConfig
from experiments.agents.environments import build_game
from experiments.agents.ppo import Ppo
from experiments.training.checkpoint import Checkpoints
from experiments.training.lanes import Member, stacked

SMALL = Ppo(environments=4, steps=25, epochs=2, batch=20)
CONFIG = AgentConfig(model="actor_critic_small", methods=("vanilla",), ppo=SMALL)
MEMBERS = [Member(seed, 0.0, 1e-3) for seed in (3, 4)]


@functools.cache
def agent():
    return build_agent(CONFIG, "vanilla")


def learnt(members, iterations=3, shift=0.0):
    """The state, measurements and observations of some members after a while."""
    game = build_game("cartpole", "CartPole-v1")
    learner = agent().training.initialize(members)
    keys = jnp.stack([jax.random.key(member.seed) for member in members])
    shifts = np.full((len(members), 4), shift, np.float32)
    state = agent().start(game, learner, shifts, keys)
    return agent().learn(game, state, stacked(members), shifts, iterations)


def test_the_same_seed_gives_the_same_numbers():
    one, other = learnt(MEMBERS[:1]), learnt(MEMBERS[:1])
    chex.assert_trees_all_equal(
        jax.tree.leaves(one[0].learner.params), jax.tree.leaves(other[0].learner.params)
    )
    chex.assert_trees_all_equal(one[1], other[1])


def test_members_are_independent():
    _, together, _ = learnt(MEMBERS, iterations=1)
    for i, member in enumerate(MEMBERS):
        _, alone, _ = learnt([member], iterations=1)
        one = jax.tree.map(lambda x, i=i: x[i], together)
        chex.assert_trees_all_close(one, jax.tree.map(lambda x: x[0], alone), rtol=1e-3)
    assert not np.allclose(together.loss[0], together.loss[1])


def test_what_is_looked_at_is_what_the_last_rollout_saw():
    state, seen, looked = learnt(MEMBERS, iterations=2, shift=7.0)
    chex.assert_shape(looked, (2, 100, 4))
    np.testing.assert_allclose(looked.mean(), 7, atol=1)
    chex.assert_shape(tuple(seen), (2, 2))
    chex.assert_tree_all_finite((state.learner.params, seen))


@pytest.mark.parametrize(
    ("environment", "solved"), [("cartpole_plain", 475), ("acrobot_plain", -100)]
)
@pytest.mark.usefixtures("optimized")
def test_ppo_solves_what_does_not_change(environment, solved, tmp_path):
    config = AgentConfig(
        dataset=environment,
        model="actor_critic_small",
        methods=("vanilla",),
        seeds=2,
        tasks=1,
        iterations=100,
    )
    checkpoints = Checkpoints(tmp_path / "checkpoint", "test")
    records = run_agents(config, lambda _: None, checkpoints)
    returns = [record.final_return for record in records]
    assert np.mean(returns) >= solved, returns

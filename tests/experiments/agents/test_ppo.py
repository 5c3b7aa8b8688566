"""Advantages and losses, beside loops over plain numbers."""

import chex
from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.agents.ppo import (
    Played,
    Ppo,
    advantages,
    chosen,
    entropy,
    explained_variance,
    objective,
)
from experiments.models import Outputs


def advantages_by_hand(rewards, values, after, terminated, ended, discount, trace):
    """Each advantage as the sum over the rest of its episode."""
    steps = len(rewards)
    found = np.zeros(steps)
    for start in range(steps):
        weight = 1.0
        for t in range(start, steps):
            future = 0.0 if terminated[t] else discount * after[t]
            found[start] += weight * (rewards[t] + future - values[t])
            if ended[t]:
                break
            weight *= discount * trace
    return found


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1))
def test_advantages_are_sums_over_the_rest_of_the_episode(seed, discount, trace):
    generator = np.random.default_rng(seed)
    rewards, values, after = generator.normal(size=(3, 12, 2))
    terminated, truncated = generator.random((2, 12, 2)) < 0.2
    ended = terminated | truncated
    found = advantages(rewards, values, after, terminated, ended, discount, trace)
    for i in range(2):
        columns = (x[:, i] for x in (rewards, values, after, terminated, ended))
        wanted = advantages_by_hand(*columns, discount, trace)
        np.testing.assert_allclose(found[:, i], wanted, rtol=1e-4, atol=1e-5)


def test_an_episode_that_was_cut_counts_what_would_have_followed():
    one = jnp.ones((1,))
    cut = advantages(one, 0 * one, 10 * one, 0 * one, one, 0.9, 0.5)
    over = advantages(one, 0 * one, 10 * one, one, one, 0.9, 0.5)
    np.testing.assert_allclose(cut, [10.0])
    np.testing.assert_allclose(over, [1.0])


def losses_by_hand(policy, value, played, ppo):
    found = []
    gains = np.asarray(played.advantage, np.float64)
    gains = (gains - gains.mean()) / (gains.std() + 1e-8)
    for i, logits in enumerate(np.asarray(policy, np.float64)):
        odds = np.exp(logits)
        probabilities = odds / odds.sum()
        ratio = probabilities[played.action[i]] / np.exp(played.log_prob[i])
        within = min(max(ratio, 1 - ppo.clip), 1 + ppo.clip)
        surprise = -sum(p * np.log(p) for p in probabilities)
        found.append(
            -min(ratio * gains[i], within * gains[i])
            + ppo.value * (value[i] - played.value[i]) ** 2
            - ppo.entropy * surprise
        )
    return np.array(found)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_loss_is_the_clipped_objective(seed):
    generator = np.random.default_rng(seed)
    ppo = Ppo(clip=0.3, entropy=0.1, value=0.7)
    policy, value = generator.normal(size=(16, 3)), generator.normal(size=16)
    played = Played(
        action=generator.integers(3, size=16),
        log_prob=np.log(generator.uniform(0.1, 1, size=16)),
        advantage=generator.normal(size=16),
        value=generator.normal(size=16),
    )
    found = objective(ppo).losses(
        Outputs(jnp.asarray(policy), jnp.asarray(value)),
        jax.tree.map(jnp.asarray, played),
    )
    wanted = losses_by_hand(policy, value, played, ppo)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_beyond_the_clip_nothing_pulls_further():
    ppo = Ppo(entropy=0.0, value=0.0)
    played = Played(
        action=jnp.array([0, 0]),
        log_prob=jnp.log(jnp.array([0.5, 0.5])),
        advantage=jnp.array([1.0, -1.0]),
        value=jnp.zeros(2),
    )

    def loss(logit):  # More of an action than the clip allows.
        policy = jnp.array([[logit, 0.0], [0.0, 0.0]])
        return objective(ppo).losses(Outputs(policy, jnp.zeros(2)), played)[0]

    assert jax.grad(loss)(2.0) == 0
    assert jax.grad(loss)(0.1) < 0


def test_entropy_is_that_of_the_distribution():
    logits = jax.nn.log_softmax(jnp.array([[0.0, 0.0], [50.0, 0.0]]))
    np.testing.assert_allclose(entropy(logits), [np.log(2), 0], atol=1e-6)
    chex.assert_trees_all_equal(
        chosen(logits, jnp.array([1, 0])), logits[[0, 1], [1, 0]]
    )


@pytest.mark.parametrize(
    ("values", "share"), [([1.0, 2, 3], 1.0), ([2.0, 2, 2], 0.0), ([3.0, 2, 1], -3.0)]
)
def test_explained_variance(values, share):
    returns = jnp.array([1.0, 2, 3])
    assert explained_variance(jnp.array(values), returns) == pytest.approx(share)


def test_where_returns_are_all_the_same_nothing_can_be_explained():
    assert jnp.isnan(explained_variance(jnp.arange(3.0), jnp.ones(3)))

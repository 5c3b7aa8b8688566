"""Environments that change from level to level."""

import functools

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.agents.environments import ENVIRONMENTS, Game


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_observations_and_actions_are_as_the_table_says(name):
    environment = ENVIRONMENTS[name]
    for game in environment.games:
        made, settings = gymnax.make(game, **environment.options)
        assert made.num_actions == environment.actions
        shape = made.observation_space(settings).shape
        assert shape[:-1] == environment.shape[:-1]
        assert shape[-1] <= environment.shape[-1]


def test_the_first_level_is_as_it_is_and_later_ones_are_shifted():
    cartpole = ENVIRONMENTS["cartpole"]
    assert not cartpole.shift_at(1, seed=3).any()
    shifts = np.array([cartpole.shift_at(level, 3) for level in range(2, 2002)])
    assert len(np.unique(shifts[:, 0])) == 2000
    np.testing.assert_allclose(shifts.mean(), 0, atol=0.1)
    np.testing.assert_allclose(shifts.std(), 2, atol=0.1)
    assert (cartpole.shift_at(5, 3) == cartpole.shift_at(5, 3)).all()
    assert (cartpole.shift_at(5, 3) != cartpole.shift_at(5, 4)).all()
    plain = ENVIRONMENTS["cartpole_plain"]
    assert not plain.shift_at(7, 0).any()


@pytest.mark.parametrize("name", [n for n in ENVIRONMENTS if n != "minatar"])
def test_returns_of_actions_that_are_drawn_evenly_are_as_measured(name):
    """Over a few hundred episodes, in which Acrobot hardly ever swings up."""
    environment = ENVIRONMENTS[name]
    game = Game(environment, environment.game(1))
    shift = jnp.zeros(environment.shape)

    def episode(key):
        state, _ = game.reset(key, shift)

        def step(carry, key):
            state, total, over = carry
            drawn, stepping = jax.random.split(key)
            action = jax.random.randint(drawn, (), 0, environment.actions)
            stepped = game.step(stepping, state, action, shift)
            total += jnp.where(over, 0, stepped.reward)
            over |= stepped.terminated | stepped.truncated
            return (stepped.state, total, over), None

        keys = jax.random.split(jax.random.fold_in(key, 1), environment.longest)
        (_, total, over), _ = jax.lax.scan(step, (state, 0.0, False), keys)
        return total, over

    returns, over = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), 300))
    assert over.all()
    error = float(returns.std()) / len(returns) ** 0.5
    assert abs(returns.mean() - environment.random) < max(4 * error, 1)


def test_games_take_turns():
    minatar = ENVIRONMENTS["minatar"]
    played = [minatar.game(level).split("-")[0] for level in range(1, 5)]
    assert played == ["Breakout", "Asterix", "SpaceInvaders", "Breakout"]


@functools.cache
def played(steps=60):
    """A game of CartPole with a shift, always to the left, as gymnax and we play it."""
    environment = ENVIRONMENTS["cartpole"]._replace(longest=7)
    game, shift = Game(environment, "CartPole-v1"), jnp.array([1.0, -2, 3, 0.5])
    state, observation = game.reset(jax.random.key(0), shift)
    step, found = jax.jit(game.step), []
    for key in jax.random.split(jax.random.key(1), steps):
        stepped = step(key, state, jnp.int32(len(found) % 2), shift)
        found.append((observation, stepped))
        state, observation = stepped.state, stepped.observation
    return found


def test_a_shift_is_added_to_all_that_is_seen():
    made, _ = gymnax.make("CartPole-v1")
    for _, stepped in played():
        seen = made.get_obs(stepped.state) + np.array([1.0, -2, 3, 0.5])
        np.testing.assert_allclose(stepped.observation, seen, rtol=1e-6)


def test_an_episode_that_is_too_long_is_cut_and_not_over():
    lengths, length = [], 0
    for _, stepped in played():
        length += 1
        assert not stepped.terminated  # In so few steps the pole cannot fall.
        if stepped.truncated:
            lengths.append(length)
            length = 0
            assert not np.allclose(stepped.successor, stepped.observation)
        else:
            np.testing.assert_array_equal(stepped.successor, stepped.observation)
    assert set(lengths) == {7}


def test_channels_that_a_game_has_not_are_zero():
    environment = ENVIRONMENTS["minatar"]
    game = Game(environment, "Breakout-MinAtar")
    _, observation = game.reset(jax.random.key(0), jnp.zeros(environment.shape))
    assert observation.shape == (10, 10, 6)
    assert observation[..., :4].any()
    assert not observation[..., 4:].any()


def test_without_gymnax_one_line_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "gymnax", None)
    assert main(["agent", "--out", str(tmp_path / "a")]) == 2
    error = capsys.readouterr().err
    assert error == (
        "swr-experiments: agents need gymnax: pip install 'swr-optax[rl]'\n"
    )
    assert not (tmp_path / "a").exists()

"""Utility-based perturbed gradient descent, against the paper's rule in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax


def start():
    return {"w": jnp.array([[1.0, -2.0], [0.5, 0.25]]), "b": jnp.array([0.1, -0.3])}


def test_two_steps():
    params = start()
    tx = swr_optax.upgd(0.1, beta_utility=0.9, sigma=0.05, weight_decay=0.2, key=4)
    state = tx.init(params)
    utilities = {name: np.zeros(p.shape) for name, p in params.items()}
    for t in range(1, 3):
        grads = jax.tree.map(jnp.sin, params)
        drawn = jax.random.split(jax.random.split(state.key)[1], 2)
        noise = {  # In tree order: b, then w.
            "b": 0.05 * jax.random.normal(drawn[0], (2,)),
            "w": 0.05 * jax.random.normal(drawn[1], (2, 2)),
        }
        corrected = {}
        for name in params:
            g, w = np.float64(grads[name]), np.float64(params[name])
            utilities[name] = 0.9 * utilities[name] + 0.1 * -g * w
            corrected[name] = utilities[name] / (1 - 0.9**t)
        largest = max(u.max() for u in corrected.values())
        expected = {}
        for name in params:
            g, w = np.float64(grads[name]), np.float64(params[name])
            scaled = 1 / (1 + np.exp(-corrected[name] / largest))
            step = (g + np.float64(noise[name])) * (1 - scaled)
            expected[name] = (1 - 0.1 * 0.2) * w - 0.1 * step
        moves, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, moves)
        for name in params:
            np.testing.assert_allclose(params[name], expected[name], rtol=1e-5)
            np.testing.assert_allclose(
                state.utilities[name], utilities[name], rtol=1e-5
            )


def test_useful_weights_move_less():
    params = {"w": jnp.array([1.0, 1.0, 1.0])}
    tx = swr_optax.upgd(1.0, beta_utility=0.0, sigma=0.0, weight_decay=0.0)
    grads = {"w": jnp.array([-1.0, -0.1, 0.1])}
    moves, _ = tx.update(grads, tx.init(params), params)
    shares = -moves["w"] / grads["w"]
    assert shares[0] < shares[1] < 0.5 < shares[2]


def test_no_utility_at_all_is_no_division_by_zero():
    params = {"w": jnp.zeros(3)}
    tx = swr_optax.upgd(1.0, sigma=0.0)
    moves, _ = tx.update({"w": jnp.ones(3)}, tx.init(params), params)
    np.testing.assert_allclose(moves["w"], -0.5)


def test_noise_has_its_deviation_and_is_drawn_anew():
    params = {"w": jnp.zeros((100, 100))}
    tx = swr_optax.upgd(1.0, sigma=0.3)
    first, state = tx.update(params, tx.init(params), params)
    second, _ = tx.update(params, state, params)
    np.testing.assert_allclose(first["w"].std(), 0.15, rtol=0.03)
    assert abs(np.corrcoef(first["w"].ravel(), second["w"].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize(
    "arguments",
    [
        {"learning_rate": -1.0},
        {"beta_utility": 1.5},
        {"sigma": -1.0},
        {"weight_decay": -1.0},
    ],
)
def test_mistakes_are_named(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"{name} must "):
        swr_optax.upgd(**arguments)

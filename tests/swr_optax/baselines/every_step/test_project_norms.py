"""Projection to the initial norms, against the authors' rule in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from small_networks import NETWORKS, shifts_of, weights_of
import swr_optax

HELD = {
    "mlp": ["first"],
    "convolutional": ["conv"],
    "stacked": ["block0", "block1", "block2"],
    "attention": ["query", "key", "value"],
}


def moved(tx, state, params):
    moves = jax.tree.map(lambda p: 0.3 * jnp.cos(p), params)
    after = optax.apply_updates(params, moves)
    found, state = tx.update(moves, state, params)
    return after, optax.apply_updates(params, found), state


@pytest.mark.parametrize("name", NETWORKS)
def test_hidden_weights_keep_their_norms_and_all_else_is_free(name):
    network = NETWORKS[name]()
    tx = swr_optax.project_norms(network.plan)
    params, state = network.params, tx.init(network.params)
    for _ in range(2):
        after, params, state = moved(tx, state, params)
        weights = weights_of(name, after)
        for layer, initial in weights_of(name, network.params).items():
            now = np.linalg.norm(weights[layer])
            factor = np.linalg.norm(initial) / now if layer in HELD[name] else 1.0
            np.testing.assert_allclose(
                weights_of(name, params)[layer],
                factor * weights[layer],
                rtol=1e-5,
                atol=1e-6,
            )
        for layer, shift in shifts_of(name, after).items():
            np.testing.assert_allclose(shifts_of(name, params)[layer], shift, rtol=1e-6)


def test_projects_at_every_nth_step():
    network = NETWORKS["mlp"]()
    tx = swr_optax.project_norms(network.plan, every=3)
    initial = np.linalg.norm(network.params["first"]["w"])
    params, state = network.params, tx.init(network.params)
    held = []
    for _ in range(6):
        _, params, state = moved(tx, state, params)
        held.append(np.isclose(np.linalg.norm(params["first"]["w"]), initial))
    assert held == [False, False, True, False, False, True]


def test_a_scale_behind_the_output_layer_does_not_stand_for_it():
    """The last that mixes inputs is free: here a learned temperature is the last."""
    params = {"a": jnp.ones((4, 8)), "b": jnp.ones((8, 3)), "temperature": jnp.ones(())}
    plan = swr_optax.plan_rescaling(
        lambda p, x: (jax.nn.relu(x @ p["a"]) @ p["b"]) * p["temperature"],
        params,
        jnp.ones((2, 4)),
    )
    tx = swr_optax.project_norms(plan)
    _, found, _ = moved(tx, tx.init(params), params)
    growth = {name: float(found[name].max()) for name in params}
    assert growth == pytest.approx(
        {"a": 1, "b": 1 + 0.3 * np.cos(1), "temperature": 1 + 0.3 * np.cos(1)}
    )


def test_leaves_say_what_is_held():
    network = NETWORKS["stacked"]()
    tx = swr_optax.project_norms(
        network.plan, leaves=lambda leaf: leaf.index == 1 or leaf.path == "last/w"
    )
    after, params, _ = moved(tx, tx.init(network.params), network.params)
    start, free, found = (
        {layer: np.linalg.norm(w) for layer, w in weights_of("stacked", p).items()}
        for p in (network.params, after, params)
    )
    for layer in ("block1", "last"):
        np.testing.assert_allclose(found[layer], start[layer], rtol=1e-6)
    for layer in ("block0", "block2"):
        np.testing.assert_allclose(found[layer], free[layer], rtol=1e-6)


def test_a_weight_that_was_zero_is_left_alone():
    network = NETWORKS["mlp"]()
    params = {**network.params, "first": {"w": jnp.zeros((5, 4)), "b": jnp.ones(4)}}
    tx = swr_optax.project_norms(network.plan)
    after, found, _ = moved(tx, tx.init(params), params)
    jax.tree.map(np.testing.assert_array_equal, found, after)


@pytest.mark.parametrize(("every", "error"), [(0, ValueError), (1.5, TypeError)])
def test_a_wrong_interval_is_named(every, error):
    with pytest.raises(error, match="every must be"):
        swr_optax.project_norms(NETWORKS["mlp"]().plan, every=every)

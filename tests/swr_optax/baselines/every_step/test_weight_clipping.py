"""Weight clipping, against the authors' rule in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from small_networks import NETWORKS, shifts_of, weights_of
import swr_optax

FAN_IN = {
    "mlp": {"first": 5, "second": 4},
    "convolutional": {"conv": 18, "norm": 1, "dense": 4},
    "stacked": {"block0": 4, "block1": 4, "block2": 4, "last": 4},
    "attention": {"query": 6, "key": 6, "value": 6, "out": 6},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_clips_weights_and_biases_by_their_layers_fan_in(name):
    network = NETWORKS[name]()
    tx = swr_optax.weight_clipping(network.plan, 0.7)
    moves = jax.tree.map(lambda p: 0.5 * jnp.cos(p), network.params)
    found, _ = tx.update(moves, tx.init(network.params), network.params)
    found = optax.apply_updates(network.params, found)
    after = optax.apply_updates(network.params, moves)
    for read in (weights_of, shifts_of):
        for layer, values in read(name, after).items():
            bound = 0.7 / np.sqrt(FAN_IN[name][layer])
            assert np.abs(values).max() > bound
            np.testing.assert_allclose(
                read(name, found)[layer], np.clip(values, -bound, bound), rtol=1e-6
            )


def test_what_is_inside_the_bound_moves_as_the_optimiser_says():
    network = NETWORKS["mlp"]()
    tx = swr_optax.weight_clipping(network.plan, 100)
    moves = jax.tree.map(jnp.sin, network.params)
    found, _ = tx.update(moves, tx.init(network.params), network.params)
    jax.tree.map(np.testing.assert_array_equal, found, moves)


def test_leaves_alone_what_is_excluded_or_belongs_to_no_layer():
    def forward(p, x):
        return jax.nn.relu(x + p["offset"]) @ p["frozen"] @ p["w"]

    params = {"offset": jnp.ones(3), "frozen": jnp.ones((3, 3)), "w": jnp.ones((3, 3))}
    plan = swr_optax.plan_rescaling(
        forward, params, jnp.ones((1, 3)), exclude=lambda path: path == "frozen"
    )
    tx = swr_optax.weight_clipping(plan, 0.1)
    found, _ = tx.update(params, tx.init(params), params)
    found = optax.apply_updates(params, found)
    np.testing.assert_array_equal(found["offset"], 2)
    np.testing.assert_array_equal(found["frozen"], 2)
    np.testing.assert_allclose(found["w"], 0.1 / np.sqrt(3), rtol=1e-6)


def test_a_negative_bound_is_named():
    with pytest.raises(ValueError, match="kappa must not be negative, not -1"):
        swr_optax.weight_clipping(NETWORKS["mlp"]().plan, -1)

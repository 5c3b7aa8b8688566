"""L2 Init on the directions, against its formula in NumPy and differentiated."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from small_networks import NETWORKS, shifts_of, weights_of
import swr_optax


def zeros(params):
    return jax.tree.map(jnp.zeros_like, params)


def pulls_of(name, coefficient=0.3):
    network = NETWORKS[name]()
    params = NETWORKS[name](seed=3).params
    tx = swr_optax.l2_directions(coefficient, network.plan)
    found, _ = tx.update(zeros(params), tx.init(network.params), params)
    return network.params, params, found


@pytest.mark.parametrize("name", NETWORKS)
def test_adds_the_gradient_of_its_penalty(name):
    start, params, found = pulls_of(name)
    then = weights_of(name, start)
    for layer, w in weights_of(name, params).items():
        w0 = then[layer]
        n, n0 = np.linalg.norm(w), np.linalg.norm(w0)
        unit, unit0 = w / n, w0 / n0
        # The differential of w / |w| is the projection off w, over |w|.
        distance = unit - unit0
        expected = n0**2 * (distance - np.sum(distance * unit) * unit) / n
        np.testing.assert_allclose(
            weights_of(name, found)[layer], 0.3 * expected, rtol=1e-4, atol=1e-6
        )
    then = shifts_of(name, start)
    for layer, b in shifts_of(name, params).items():
        np.testing.assert_allclose(
            shifts_of(name, found)[layer], 0.3 * (b - then[layer]), rtol=1e-5, atol=1e-6
        )


def test_is_what_jax_finds_by_differentiating_the_formula():
    start, params, found = pulls_of("mlp")

    def penalty(params):
        total = 0.0
        for layer in ("first", "second"):
            w, w0 = params[layer]["w"], start[layer]["w"]
            n, n0 = jnp.linalg.norm(w), jnp.linalg.norm(w0)
            total += n0**2 * jnp.sum((w / n - w0 / n0) ** 2)
            total += jnp.sum((params[layer]["b"] - start[layer]["b"]) ** 2)
        return 0.3 / 2 * total

    chex.assert_trees_all_close(found, jax.grad(penalty)(params), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_pull_is_orthogonal_to_each_weight(name):
    _, params, found = pulls_of(name)
    pulls = weights_of(name, found)
    for layer, w in weights_of(name, params).items():
        size = np.linalg.norm(w) * np.linalg.norm(pulls[layer])
        assert size > 0.01
        assert abs(np.sum(pulls[layer] * w)) < 1e-6 * size


def test_a_multiple_of_the_start_is_not_pulled():
    network = NETWORKS["mlp"]()
    tx = swr_optax.l2_directions(1.0, network.plan)
    params = jax.tree.map(lambda p: 4 * p, network.params)
    found, _ = tx.update(zeros(params), tx.init(network.params), params)
    for pull in weights_of("mlp", found).values():
        np.testing.assert_allclose(pull, 0, atol=1e-6)


def test_with_swr_it_leads_back_to_the_start():
    network = NETWORKS["mlp"]()
    tx = optax.chain(
        swr_optax.l2_directions(1.0, network.plan),
        optax.sgd(0.2),
        swr_optax.soft_weight_rescaling(0.2, network.plan),
    )
    params, state = NETWORKS["mlp"](seed=3).params, tx.init(network.params)
    update = jax.jit(tx.update)
    for _ in range(300):
        moves, state = update(zeros(params), state, params)
        params = optax.apply_updates(params, moves)
    found, start = weights_of("mlp", params), weights_of("mlp", network.params)
    for layer, w0 in start.items():
        np.testing.assert_allclose(found[layer], w0, atol=1e-3)


def test_a_weight_without_a_direction_is_left_alone():
    network = NETWORKS["mlp"]()
    tx = swr_optax.l2_directions(1.0, network.plan)
    for start, params in (
        (network.params, zeros(network.params)),
        (zeros(network.params), network.params),
    ):
        found, _ = tx.update(zeros(params), tx.init(start), params)
        for pull in weights_of("mlp", found).values():
            np.testing.assert_array_equal(pull, 0)

"""The transformation against the paper's rules and theorems, and hard cases."""

import chex
from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from networks import digits, network
import paper_rules
import swr_optax
from two_layers import forward, norms_of, randomly, two_layers


@pytest.mark.parametrize("coefficient", [1e-3, 0.3])
@pytest.mark.parametrize("name", ["mlp", "cnn", "cnn_bn"])
def test_agrees_with_the_paper_at_each_of_100_adam_steps(name, coefficient):
    net = network(name)
    plan = net.plan()
    tx = optax.adam(1e-3)
    swr = swr_optax.soft_weight_rescaling(coefficient, plan)
    pixels, labels = map(jnp.asarray, digits())
    references = paper_rules.norms(paper_rules.flat(net.params), net.layers)

    @jax.jit
    def step(params, stats, adam_state, swr_state, images, labels):
        def loss(params):
            logits, updated = net.train(params, stats, images)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), updated

        grads, stats = jax.grad(loss, has_aux=True)(params)
        moves, adam_state = tx.update(grads, adam_state, params)
        rescaled, swr_state = swr.update(moves, swr_state, params)
        new_params = optax.apply_updates(params, rescaled)
        new_stats = swr_optax.rescale_statistics(stats, swr_state, plan)
        return moves, stats, (new_params, new_stats, adam_state, swr_state)

    state = (net.params, net.stats, tx.init(net.params), swr.init(net.params))
    for k in range(100):
        rows = np.arange(16 * k, 16 * k + 16) % 1024
        before = state[0]
        moves, stats, state = step(*state, pixels[rows], labels[rows])
        moved = jax.tree.map(lambda p, u: np.float64(p) + np.float64(u), before, moves)
        arrays = paper_rules.flat(moved, stats)
        c = paper_rules.scalers(
            arrays, net.layers, references, [coefficient] * len(net.layers)
        )
        expected, _ = paper_rules.scale(arrays, net.layers, c)
        found = paper_rules.flat(state[0], state[1])
        assert found.keys() == expected.keys()
        for path, array in expected.items():
            error = np.abs(found[path] - array).max() / np.abs(array).max()
            assert error < 1e-6, (k, path, error)


@given(
    coefficient=st.floats(1e-6, 1),
    growth=st.floats(0.2, 5),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=40, deadline=None)
def test_one_step_takes_exactly_the_fraction_off_each_norm(coefficient, growth, seed):
    params, plan = two_layers(seed)
    tx = swr_optax.soft_weight_rescaling(coefficient, plan)
    state = tx.init(params)
    moves = jax.tree.map(lambda p: (growth - 1) * p, params)
    rescaled, _ = tx.update(moves, state, params)
    start, moved = norms_of(params), growth * norms_of(params)
    expected = moved - coefficient * (moved - start)
    found = norms_of(optax.apply_updates(params, rescaled))
    np.testing.assert_allclose(found, expected, rtol=2e-6)


@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4)),
    coefficient=st.floats(0.02, 1),
    bound=st.floats(1e-3, 10),
    outward=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=15, deadline=None)
def test_theorem_2_and_the_lipschitz_bound(shape, coefficient, bound, outward, seed):
    """Norms stay under n + √B/λ, so the Lipschitz constant under their product."""
    params, plan = two_layers(seed, *shape)
    tx = swr_optax.soft_weight_rescaling(coefficient, plan)
    update, state = jax.jit(tx.update), tx.init(params)
    limits = norms_of(params) + np.sqrt(bound) / coefficient
    for k in range(30):
        moves = params if outward else randomly(params, seed + k)
        # The largest move along this direction that adds at most B to ‖W‖².
        moves = {
            layer: {
                "w": move["w"] * largest_step(params[layer]["w"], move["w"], bound),
                # Outputs must not be so large that their difference is rounding.
                "b": 0 * move["b"],
            }
            for layer, move in moves.items()
        }
        rescaled, state = update(moves, state, params)
        params = optax.apply_updates(params, rescaled)
        assert (norms_of(params) <= limits * (1 + 1e-5)).all()

    points = jax.random.normal(jax.random.key(seed), (2, 16, shape[0]))
    change = jnp.linalg.norm(forward(params, points[0]) - forward(params, points[1]))
    distance = jnp.linalg.norm(points[0] - points[1])
    assert change <= np.prod(limits) * distance * (1 + 1e-5)


def largest_step(weight, direction, bound):
    """The t ≥ 0 with ‖W + t D‖² = ‖W‖² + B."""
    w, d = np.ravel(weight).astype(np.float64), np.ravel(direction).astype(np.float64)
    a, b = d @ d, w @ d
    return float((-b + np.sqrt(b * b + a * bound)) / a)


def test_theorem_2_is_tight():
    """Always outward, the norm comes as near to n + √B/λ as theory says."""
    params, plan = two_layers()
    coefficient, bound = 0.05, 4.0
    tx = swr_optax.soft_weight_rescaling(coefficient, plan)
    state = tx.init(params)
    start = norms_of(params)
    step = jax.jit(tx.update)
    expected = start.copy()
    for _ in range(200):
        now = norms_of(params)
        growth = np.sqrt(now**2 + bound) / now - 1
        moves = jax.tree.map(jnp.zeros_like, params)
        for layer, g in zip(("first", "second"), growth, strict=True):
            moves[layer]["w"] = params[layer]["w"] * g
        rescaled, state = step(moves, state, params)
        params = optax.apply_updates(params, rescaled)
        expected = np.sqrt(expected**2 + bound)
        expected -= coefficient * (expected - start)
    np.testing.assert_allclose(norms_of(params), expected, rtol=1e-5)
    assert (norms_of(params) > start * 1.5).all()


@given(
    coefficient=st.floats(0, 1),
    factors=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=40, deadline=None)
def test_theorem_3_layers_stay_balanced(coefficient, factors, seed):
    """SWR never takes the ratio of two norms further from what it was."""
    params, plan = two_layers(seed)
    tx = swr_optax.soft_weight_rescaling(coefficient, plan)
    state = tx.init(params)
    moves = {
        layer: {"w": (f - 1) * params[layer]["w"], "b": params[layer]["b"]}
        for layer, f in zip(("first", "second"), factors, strict=True)
    }
    rescaled, _ = tx.update(moves, state, params)
    start = norms_of(params)
    plain = norms_of(optax.apply_updates(params, moves))
    soft = norms_of(optax.apply_updates(params, rescaled))
    for i, j in ((0, 1), (1, 0)):
        before = abs(plain[i] / plain[j] - start[i] / start[j])
        after = abs(soft[i] / soft[j] - start[i] / start[j])
        assert after <= before + 1e-5 * start[i] / start[j]


@pytest.mark.parametrize(
    "zero", [0, 0.0, np.float32(0), {"feature": 0, "classifier": 0}]
)
def test_zero_changes_nothing_to_the_bit(zero):
    params, plan = two_layers()
    moves = randomly(params)
    moves["first"]["w"] = moves["first"]["w"].at[0, 0].set(-0.0)
    tx = swr_optax.soft_weight_rescaling(zero, plan)
    rescaled, state = tx.update(moves, tx.init(params), params)
    for found, given_ in zip(
        jax.tree.leaves(rescaled), jax.tree.leaves(moves), strict=True
    ):
        assert np.asarray(found).tobytes() == np.asarray(given_).tobytes()
    assert not state.log_scalers.any()


def test_zero_for_one_group_leaves_that_group_to_the_bit():
    params, plan = two_layers()
    moves = randomly(params)
    tx = swr_optax.soft_weight_rescaling({"feature": 0.0, "classifier": 0.5}, plan)
    rescaled, _ = tx.update(moves, tx.init(params), params)
    chex.assert_trees_all_equal(rescaled["first"], moves["first"])
    assert not np.array_equal(rescaled["second"]["w"], moves["second"]["w"])


def test_one_holds_every_norm():
    params, plan = two_layers()
    tx = optax.chain(optax.sgd(1.0), swr_optax.soft_weight_rescaling(1, plan))
    state = tx.init(params)
    start = norms_of(params)
    for k in range(20):
        moves, state = tx.update(randomly(params, k, 1.0), state, params)
        params = optax.apply_updates(params, moves)
        np.testing.assert_allclose(norms_of(params), start, rtol=1e-6)


def test_a_tiny_coefficient_moves_float32_weights_by_the_right_amount():
    """λ = 1e-6 takes about 4 units in the last place off, none may be lost."""
    coefficient, steps = 1e-6, 200
    params = {"w": jax.random.normal(jax.random.key(0), (256, 256))}
    plan = swr_optax.plan_rescaling(lambda p, x: x @ p["w"], params, jnp.ones((1, 256)))
    tx = swr_optax.soft_weight_rescaling(coefficient, plan)
    state = tx.init(params)
    state = state._replace(reference_norms=state.reference_norms / 2)
    reference = float(state.reference_norms[0])
    step = jax.jit(tx.update)
    exact = np.asarray(params["w"], np.float64)
    plain = exact.copy()
    for k in range(steps):
        moves = randomly(params, k, 1e-3)
        rescaled, state = step(moves, state, params)
        params = optax.apply_updates(params, rescaled)
        exact += np.asarray(moves["w"], np.float64)
        norm = np.linalg.norm(exact)
        exact *= 1 + coefficient * (reference - norm) / norm
        plain += np.asarray(moves["w"], np.float64)
    shrunk = np.vdot(plain - np.asarray(params["w"], np.float64), plain)
    expected = np.vdot(plain - exact, plain)
    assert expected > 0
    assert abs(shrunk / expected - 1) < 0.01


@pytest.mark.parametrize("coefficient", [1e-3, 1.0])
def test_a_weight_without_norm_is_left_alone(coefficient):
    params, plan = two_layers()
    params["first"]["w"] = jnp.zeros_like(params["first"]["w"])
    tx = swr_optax.soft_weight_rescaling(coefficient, plan)
    state = tx.init(params)
    moves = randomly(params)
    for weight in ("zero norm", "zero reference norm"):
        if weight == "zero norm":
            moves["first"]["w"] = jnp.zeros_like(moves["first"]["w"])
        else:
            moves["first"]["w"] = jnp.ones_like(moves["first"]["w"])
        rescaled, new = jax.jit(tx.update)(moves, state, params)
        chex.assert_tree_all_finite((rescaled, new))
        chex.assert_trees_all_equal(rescaled["first"], moves["first"])
        assert new.log_scalers[0] == 0
        assert new.log_scalers[1] != 0


def test_a_gradient_by_the_coefficient_is_a_number_where_a_weight_has_no_norm():
    """As a head that begins with zeros, through two steps."""
    params, plan = two_layers()
    params["second"] = jax.tree.map(jnp.zeros_like, params["second"])

    def after(coefficient):
        tx = swr_optax.soft_weight_rescaling(coefficient, plan)
        state, found = tx.init(params), params
        for _ in range(2):
            moves = jax.tree.map(lambda p: 0.1 * p, found)
            moves, state = tx.update(moves, state, found)
            found = optax.apply_updates(found, moves)
        return sum(jnp.vdot(p, p) for p in jax.tree.leaves(found))

    slope = jax.grad(after)(0.1)
    step = 1e-2
    expected = (after(0.1 + step) - after(0.1 - step)) / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=1e-2)


def test_a_weight_far_above_its_reference_comes_all_the_way_back():
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(1.0, plan)
    state = tx.init(params)
    grown = jax.tree.map(lambda p: 1e3 * p, params)
    nothing = jax.tree.map(jnp.zeros_like, params)
    rescaled, state = tx.update(nothing, state, grown)
    found = norms_of(optax.apply_updates(grown, rescaled))
    np.testing.assert_allclose(found, norms_of(params), rtol=1e-3)
    np.testing.assert_allclose(state.log_scalers, np.log(1e-3), rtol=1e-6)


def test_an_overflowing_norm_does_not_spread():
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.1, plan)
    state = tx.init(params)
    moves = randomly(params)
    moves["first"]["w"] = moves["first"]["w"].at[0, 0].set(1e30)
    rescaled, _ = tx.update(moves, state, params)
    chex.assert_tree_all_finite(rescaled)

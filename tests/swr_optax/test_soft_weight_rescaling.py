"""The transformation against the paper, Optax and hard cases."""

import chex
import flax.serialization
from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from networks import digits, network
import paper_rules
import swr_optax
from swr_optax import metrics


def two_layers(seed=0, inputs=5, hidden=7, outputs=3):
    keys = jax.random.split(jax.random.key(seed), 4)
    params = {
        "first": {
            "w": jax.random.normal(keys[0], (inputs, hidden)),
            "b": jax.random.normal(keys[1], (hidden,)),
        },
        "second": {
            "w": jax.random.normal(keys[2], (hidden, outputs)),
            "b": jax.random.normal(keys[3], (outputs,)),
        },
    }
    return params, make_plan(params)


def forward(params, x):
    x = jax.nn.relu(x @ params["first"]["w"] + params["first"]["b"])
    return x @ params["second"]["w"] + params["second"]["b"]


def make_plan(params, **options):
    x = jnp.ones((2, params["first"]["w"].shape[0]))
    return swr_optax.plan_rescaling(forward, params, x, **options)


def randomly(params, seed=1, size=0.1):
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return structure.unflatten(
        [
            size * jax.random.normal(key, leaf.shape, leaf.dtype)
            for key, leaf in zip(keys, leaves, strict=True)
        ]
    )


def norms_of(params):
    return np.array(
        [np.linalg.norm(np.asarray(params[k]["w"])) for k in ("first", "second")]
    )


# The paper's rules.


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
@settings(max_examples=25, deadline=None)
def test_theorem_2_and_the_lipschitz_bound(shape, coefficient, bound, outward, seed):
    """Norms stay under n + √B/λ, so the Lipschitz constant under their product."""
    params, plan = two_layers(seed, *shape)
    tx = swr_optax.soft_weight_rescaling(coefficient, plan)
    state = tx.init(params)
    limits = norms_of(params) + np.sqrt(bound) / coefficient
    for k in range(30):
        moves = params if outward else randomly(params, seed + k)
        # The largest move along this direction that adds at most B to ‖W‖².
        moves = {
            layer: {
                "w": move["w"] * largest_step(params[layer]["w"], move["w"], bound),
                "b": move["b"],
            }
            for layer, move in moves.items()
        }
        rescaled, state = tx.update(moves, state, params)
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


# Exactness.


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


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_parameters_keep_their_type_and_the_right_norm(dtype):
    params, _ = two_layers(hidden=64)
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    plan = make_plan(params)
    tx = swr_optax.soft_weight_rescaling(0.25, plan)
    state = tx.init(params)
    assert state.reference_norms.dtype == jnp.float32
    moves = jax.tree.map(lambda p: p, params)  # Doubles every weight.
    rescaled, _ = tx.update(moves, state, params)
    chex.assert_trees_all_equal_dtypes(rescaled, params)
    found = norms_of(jax.tree.map(np.float32, optax.apply_updates(params, rescaled)))
    start = norms_of(jax.tree.map(np.float32, params))
    np.testing.assert_allclose(found, 1.75 * start, rtol=4e-3)


def test_half_precision_does_not_hide_growth_below_its_own():
    """1 + 2⁻¹⁰ is 1 in bfloat16; the norm of what is added up must see it."""
    params, _ = two_layers(hidden=64)
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    tx = swr_optax.soft_weight_rescaling(0.5, make_plan(params))
    moves = jax.tree.map(lambda p: p * jnp.bfloat16(2**-10), params)
    _, state = tx.update(moves, tx.init(params), params)
    np.testing.assert_allclose(state.log_scalers, -0.5 * 2**-10, rtol=1e-2)


def test_float64_parameters_get_float64_norms():
    with jax.enable_x64(True):
        params, _ = two_layers()
        params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
        plan = make_plan(params)
        tx = swr_optax.soft_weight_rescaling(0.25, plan)
        rescaled, state = tx.update(params, tx.init(params), params)
        assert state.log_scalers.dtype == jnp.float64
        np.testing.assert_allclose(
            norms_of(optax.apply_updates(params, rescaled)),
            1.75 * norms_of(params),
            rtol=1e-14,
        )


# As an Optax transformation.


OPTIMIZERS = {
    "adam": lambda: optax.adam(1e-2),
    "sgd": lambda: optax.sgd(0.1, momentum=0.9),
    "muon": lambda: optax.contrib.muon(1e-2),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2)),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_chains_after_an_optimizer(optimizer):
    params, plan = two_layers()
    plain = OPTIMIZERS[optimizer]()
    tx = optax.chain(
        OPTIMIZERS[optimizer](), swr_optax.soft_weight_rescaling(0.25, plan)
    )
    grads = randomly(params)
    moves, _ = plain.update(grads, plain.init(params), params)
    state = tx.init(params)
    rescaled, new_state = jax.jit(tx.update)(grads, state, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, new_state)
    moved = norms_of(optax.apply_updates(params, moves))
    found = norms_of(optax.apply_updates(params, rescaled))
    np.testing.assert_allclose(found, 0.75 * moved + 0.25 * norms_of(params), rtol=1e-6)


def test_does_not_retrace():
    params, plan = two_layers()
    tx = optax.chain(
        optax.adam(1e-2),
        swr_optax.soft_weight_rescaling(
            optax.linear_schedule(0.1, 0.0, 10), plan, reset_steps=(2,)
        ),
    )
    state = tx.init(params)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(params, state, grads):
        moves, state = tx.update(grads, state, params)
        return optax.apply_updates(params, moves), state

    for k in range(4):
        params, state = step(params, state, randomly(params, k))


def test_update_is_pure():
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.25, plan)
    state, moves = tx.init(params), randomly(params)
    chex.assert_trees_all_equal(
        tx.update(moves, state, params), tx.update(moves, state, params)
    )


def test_vmaps_over_seeds():
    plan = two_layers()[1]
    seeds = [two_layers(seed)[0] for seed in range(3)]
    many = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)
    tx = optax.chain(optax.adam(1e-2), swr_optax.soft_weight_rescaling(0.1, plan))
    grads = jax.tree.map(lambda p: p**2, many)

    def step(params, grads):
        moves, state = tx.update(grads, tx.init(params), params)
        return optax.apply_updates(params, moves), state

    together = jax.vmap(step)(many, grads)
    for k, params in enumerate(seeds):
        alone = step(params, jax.tree.map(lambda p: p**2, params))
        chex.assert_trees_all_close(
            jax.tree.map(lambda leaf, k=k: leaf[k], together), alone, rtol=1e-5
        )


def test_vmaps_over_the_coefficient():
    params, plan = two_layers()
    moves = randomly(params)

    def step(coefficient):
        tx = swr_optax.soft_weight_rescaling(coefficient, plan)
        return tx.update(moves, tx.init(params), params)[0]

    coefficients = jnp.array([0.0, 1e-3, 0.1, 1.0])
    together = jax.vmap(step)(coefficients)
    for k, coefficient in enumerate(coefficients):
        chex.assert_trees_all_close(
            jax.tree.map(lambda leaf, k=k: leaf[k], together),
            step(float(coefficient)),
            rtol=1e-5,
            atol=1e-7,
        )


def test_schedule_counts_steps_from_zero():
    params, plan = two_layers()
    schedule = optax.piecewise_constant_schedule(0.5, {2: 0.1})
    tx = swr_optax.soft_weight_rescaling(schedule, plan)
    state = tx.init(params)
    for k in range(4):
        rate = 0.5 if k < 2 else 0.05
        fixed = swr_optax.soft_weight_rescaling(rate, plan)
        moves = randomly(params, k)
        expected, _ = fixed.update(moves, state, params)
        rescaled, state = tx.update(moves, state, params)
        chex.assert_trees_all_close(rescaled, expected, rtol=1e-6)
        params = optax.apply_updates(params, rescaled)
    assert state.count == 4


def test_groups_have_coefficients_of_their_own():
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(
        {"feature": 0.5, "classifier": optax.constant_schedule(0.125)}, plan
    )
    rescaled, _ = tx.update(params, tx.init(params), params)  # Doubles weights.
    np.testing.assert_allclose(
        norms_of(optax.apply_updates(params, rescaled)),
        norms_of(params) * [1.5, 1.875],
        rtol=1e-6,
    )


def test_inject_hyperparams_changes_the_coefficient_between_steps():
    params, plan = two_layers()
    tx = optax.inject_hyperparams(swr_optax.soft_weight_rescaling)(0.5, plan)
    state = tx.init(params)
    step = jax.jit(tx.update)
    rescaled, state = step(params, state, params)
    np.testing.assert_allclose(
        norms_of(optax.apply_updates(params, rescaled)), 1.5 * norms_of(params), 1e-6
    )
    state.hyperparams["coefficient"] = jnp.float32(0.25)
    rescaled, state = step(params, state, params)
    np.testing.assert_allclose(
        norms_of(optax.apply_updates(params, rescaled)), 1.75 * norms_of(params), 1e-6
    )


def test_multi_steps_rescales_once_in_each_period():
    params, plan = two_layers()
    tx = optax.MultiSteps(
        optax.chain(optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.5, plan)), 2
    )
    state = tx.init(params)
    start = norms_of(params)
    grads = jax.tree.map(lambda p: -p, params)
    for k in range(2):
        moves, state = jax.jit(tx.update)(grads, state, params)
        params = optax.apply_updates(params, moves)
        np.testing.assert_allclose(norms_of(params), start * (1.0, 1.5)[k], rtol=1e-6)


def test_apply_if_finite_skips_a_bad_step():
    params, plan = two_layers()
    tx = optax.apply_if_finite(
        optax.chain(optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.5, plan)), 3
    )
    state = tx.init(params)
    bad = jax.tree.map(lambda p: p * jnp.nan, params)
    moves, state = jax.jit(tx.update)(bad, state, params)
    chex.assert_trees_all_equal(optax.apply_updates(params, moves), params)
    moves, state = jax.jit(tx.update)(jax.tree.map(jnp.negative, params), state, params)
    np.testing.assert_allclose(
        norms_of(optax.apply_updates(params, moves)), 1.5 * norms_of(params), rtol=1e-6
    )


@pytest.mark.parametrize("mask", ["leaves", "prefix"])
def test_masked_parts_are_left_alone(mask):
    params, plan = two_layers()
    frozen = {
        "leaves": {
            "first": {"w": False, "b": False},
            "second": {"w": True, "b": True},
        },
        "prefix": {"first": False, "second": True},
    }[mask]
    tx = optax.masked(swr_optax.soft_weight_rescaling(0.5, plan), frozen)
    rescaled, _ = jax.jit(tx.update)(params, tx.init(params), params)
    chex.assert_trees_all_equal(rescaled["first"], params["first"])
    np.testing.assert_allclose(
        norms_of(optax.apply_updates(params, rescaled)),
        norms_of(params) * [2, 1.5],
        rtol=1e-6,
    )
    # The second bias follows its own layer only: the first was not scaled.
    np.testing.assert_allclose(
        params["second"]["b"] + rescaled["second"]["b"],
        2 * 0.75 * params["second"]["b"],
        rtol=1e-6,
    )


def test_partition_rescales_its_part():
    params, plan = two_layers()
    tx = optax.partition(
        {
            "train": optax.chain(
                optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.5, plan)
            ),
            "freeze": optax.set_to_zero(),
        },
        {"first": "freeze", "second": "train"},
    )
    grads = jax.tree.map(jnp.negative, params)
    moves, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    np.testing.assert_allclose(
        norms_of(optax.apply_updates(params, moves)), norms_of(params) * [1, 1.5], 1e-6
    )


def test_takes_extra_arguments():
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.5, plan)
    tx.update(params, tx.init(params), params, value=1.0, grad=params)


def test_state_is_arrays_and_survives_checkpoints(tmp_path):
    params, plan = two_layers()
    tx = optax.chain(optax.adam(1e-2), swr_optax.soft_weight_rescaling(0.5, plan))
    _, state = tx.update(randomly(params), tx.init(params), params)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))

    text = flax.serialization.to_bytes(state)
    chex.assert_trees_all_equal(
        flax.serialization.from_bytes(tx.init(params), text), state
    )
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "state", tx.init(params))
    chex.assert_trees_all_equal(restored, state)


# Reference norms.


def test_reset_steps_are_the_function_at_those_steps():
    params, plan = two_layers()
    automatic = optax.chain(
        optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.1, plan, reset_steps=[2, 3])
    )
    by_hand = optax.chain(optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.1, plan))
    state, other = automatic.init(params), by_hand.init(params)
    other_params = params
    step = jax.jit(automatic.update)
    for k in range(5):
        if k in (2, 3):
            other = swr_optax.reset_reference_norms(other, other_params, plan)
        grads = randomly(params, k, 0.5)
        moves, state = step(grads, state, params)
        params = optax.apply_updates(params, moves)
        moves, other = by_hand.update(grads, other, other_params)
        other_params = optax.apply_updates(other_params, moves)
        chex.assert_trees_all_close(state[1], other[1], rtol=1e-6, atol=1e-7)
    chex.assert_trees_all_close(params, other_params, rtol=1e-5)


def test_reference_norms_are_found_at_any_depth():
    params, plan = two_layers()
    inner = optax.chain(optax.adam(1e-2), swr_optax.soft_weight_rescaling(0.1, plan))
    tx = optax.MultiSteps(optax.apply_if_finite(inner, 3), 2)
    state = tx.init(params)
    grown = jax.tree.map(lambda p: 3 * p, params)
    reset = swr_optax.reset_reference_norms(state, grown, plan)
    found = reset.inner_opt_state.inner_state[1].reference_norms
    np.testing.assert_allclose(found, metrics.weight_norms(grown, plan))
    assert jax.tree.structure(reset) == jax.tree.structure(state)


def test_resetting_a_state_without_swr_says_so():
    params, plan = two_layers()
    with pytest.raises(ValueError, match="holds no SoftWeightRescalingState"):
        swr_optax.reset_reference_norms(optax.adam(1).init(params), params, plan)


# Running statistics.


def test_statistics_follow_only_steps_that_were_taken():
    net = network("cnn_bn")
    plan = net.plan()
    inner = optax.chain(optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.5, plan))
    tx = optax.MultiSteps(inner, 2)
    state = tx.init(net.params)
    grads = jax.tree.map(jnp.negative, net.params)
    stats = jax.tree.map(lambda leaf: leaf + 1.0, net.stats)
    with pytest.raises(ValueError, match="MultiStepsState, which may skip steps"):
        swr_optax.rescale_statistics(stats, state, plan)

    _, waiting = tx.update(grads, state, net.params)
    _, stepped = tx.update(grads, waiting, net.params)
    found = swr_optax.rescale_statistics(stats, stepped, plan, previous=waiting)
    # Each weight doubled and came half of the way back: c is 3/4 everywhere.
    np.testing.assert_allclose(
        found["BatchNorm_0"]["mean"], 0.75 * stats["BatchNorm_0"]["mean"], rtol=1e-6
    )
    np.testing.assert_allclose(
        found["BatchNorm_0"]["var"], 0.75**2 * stats["BatchNorm_0"]["var"], rtol=1e-6
    )

    # The next step is skipped, and the scalers of the last are still there.
    _, waiting = tx.update(grads, stepped, net.params)
    found = swr_optax.rescale_statistics(stats, waiting, plan, previous=stepped)
    chex.assert_trees_all_equal(found, stats)


# Mistakes.


@pytest.mark.parametrize("coefficient", [-0.1, 1.5, float("nan"), jnp.float32(2)])
def test_refuses_coefficients_outside_the_unit_interval(coefficient):
    _, plan = two_layers()
    with pytest.raises(ValueError, match="coefficient must be from 0 to 1, not"):
        swr_optax.soft_weight_rescaling(coefficient, plan)
    with pytest.raises(ValueError, match=r"coefficient\['feature'\] must be from 0"):
        swr_optax.soft_weight_rescaling(
            {"feature": coefficient, "classifier": 0.1}, plan
        )


def test_refuses_groups_that_the_plan_does_not_have():
    _, plan = two_layers()
    with pytest.raises(
        ValueError, match=r"unknown \['head'\], missing \['classifier'\]"
    ):
        swr_optax.soft_weight_rescaling({"feature": 0.1, "head": 0.1}, plan)


def test_refuses_coefficients_with_a_shape():
    _, plan = two_layers()
    with pytest.raises(ValueError, match=r"must be a scalar, not of shape \(2,\)"):
        swr_optax.soft_weight_rescaling(jnp.ones(2), plan)


def test_refuses_negative_reset_steps():
    _, plan = two_layers()
    with pytest.raises(ValueError, match=r"reset_steps must not be negative: \[-1\]"):
        swr_optax.soft_weight_rescaling(0.1, plan, reset_steps=[-1])


def test_missing_params_raise_what_optax_raises():
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.1, plan)
    with pytest.raises(
        ValueError, match="requires the current value of parameters"
    ) as e:
        tx.update(params, tx.init(params))
    with pytest.raises(ValueError, match="requires the current value of") as optax_s:
        optax.adamw(0.1).update(params, optax.adamw(0.1).init(params))
    assert str(e.value) == str(optax_s.value)


def test_refuses_other_parameters_and_lists_them():
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.1, plan)
    other = {"first": params["first"], "third": params["second"]}
    message = "missing second/b, second/w; surplus third/b, third/w"
    with pytest.raises(ValueError, match=message):
        tx.init(other)
    with pytest.raises(ValueError, match=message):
        tx.update(other, tx.init(params), other)


def test_refuses_parameters_of_another_shape():
    _, plan = two_layers()
    with pytest.raises(ValueError, match=r"first/b has shape \(9,\), not \(7,\)"):
        swr_optax.soft_weight_rescaling(0.1, plan).init(two_layers(hidden=9)[0])


def test_refuses_integer_parameters():
    params, plan = two_layers()
    params["first"]["b"] = params["first"]["b"].astype(jnp.int32)
    with pytest.raises(TypeError, match="parameter first/b has dtype int32"):
        swr_optax.soft_weight_rescaling(0.1, plan).init(params)

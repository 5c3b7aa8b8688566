"""What holds of every transformation among the remedies."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from small_networks import NETWORKS, normal
import swr_optax


def fresh(key):
    """Parameters for the network ``mlp``."""
    return normal(jax.tree.map(jnp.shape, NETWORKS["mlp"]().params), 0) | {
        "second": {"w": jax.random.normal(key, (4, 3)), "b": jnp.ones(3)}
    }


# Each with one coefficient for all that may be traced.
REMEDIES = {
    "hare_and_tortoise": lambda _, c: swr_optax.hare_and_tortoise(1, 1 - c),
    "l2_directions": lambda plan, c: swr_optax.l2_directions(c, plan),
    "l2_init": lambda _, c: swr_optax.l2_init(c),
    "orthogonal_decay": lambda plan, c: swr_optax.orthogonal_decay(0.5, c, plan),
    "project_norms": lambda plan, _: swr_optax.project_norms(plan),
    "shrink_and_perturb_each_step": lambda _, c: swr_optax.shrink_and_perturb_each_step(
        c, c, fresh
    ),
    "spectral_regularization": lambda plan, c: swr_optax.spectral_regularization(
        c, plan
    ),
    "upgd": lambda _, c: swr_optax.upgd(c, sigma=c, weight_decay=c),
    "wasserstein_l2": lambda plan, c: swr_optax.wasserstein_l2(c, plan),
    "weight_clipping": lambda plan, c: swr_optax.weight_clipping(plan, 2 * c),
}
WITH_COEFFICIENT = sorted({*REMEDIES} - {"project_norms"})
SCHEDULED = sorted(
    {*REMEDIES} - {"project_norms", "l2_init", "weight_clipping", "hare_and_tortoise"}
)


@functools.cache
def mlp():
    return NETWORKS["mlp"]()


def moves_of(params, by=0.3):
    return jax.tree.map(lambda p: (by * jnp.cos(p)).astype(p.dtype), params)


def readable(tree):
    """With the data of random keys for the keys."""

    def data(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if is_key else leaf

    return jax.tree.map(data, tree)


@pytest.mark.parametrize("name", REMEDIES)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_keeps_the_types_of_the_updates(name, dtype):
    network = mlp()
    params = jax.tree.map(lambda p: p.astype(dtype), network.params)
    tx = REMEDIES[name](network.plan, jnp.float32(0.25))
    found, _ = tx.update(moves_of(params), tx.init(params), params)
    chex.assert_trees_all_equal_shapes_and_dtypes(found, params)
    wide, _ = tx.update(moves_of(network.params), tx.init(params), params)
    chex.assert_trees_all_equal_shapes_and_dtypes(wide, network.params)


@pytest.mark.parametrize("name", REMEDIES)
def test_changes_the_updates_and_its_state_keeps_its_types(name):
    network = mlp()
    tx = REMEDIES[name](network.plan, 0.25)
    state = tx.init(network.params)
    params = jax.tree.map(lambda p: 1.5 * p + 0.1, network.params)
    moves = moves_of(params)
    for _ in range(2):
        found, new_state = tx.update(moves, state, params)
        chex.assert_trees_all_equal_shapes_and_dtypes(new_state, state)
        state = new_state
    assert float(abs(found["first"]["w"] - moves["first"]["w"]).max()) > 1e-3


@pytest.mark.parametrize("name", REMEDIES)
def test_a_parameter_without_entries_changes_nothing(name):
    def forward(params, x):
        none = jnp.broadcast_to(params["none"], (len(x), 0))
        return jnp.concatenate([x, none], axis=1) @ params["w"]

    if name == "shrink_and_perturb_each_step":
        pytest.skip("its init_fn is of other parameters")
    params = {"none": jnp.zeros(0), "w": jnp.linspace(1, 2, 12).reshape(4, 3)}
    plan = swr_optax.plan_rescaling(forward, params, jnp.ones((2, 4)))
    tx = REMEDIES[name](plan, 0.25)
    found, _ = tx.update(moves_of(params), tx.init(params), params)
    chex.assert_shape(found["none"], (0,))
    assert jnp.isfinite(found["w"]).all()


COMPLEX = {"w": normal({"w": (5, 3)}, 0)["w"] + 1j * normal({"w": (5, 3)}, 1)["w"]}
"""A weight of (inputs, outputs), 5 and 3."""


def complex_plan():
    return swr_optax.plan_rescaling(
        lambda p, x: jnp.abs(x @ p["w"]), COMPLEX, jnp.ones((2, 5))
    )


def pull(tx, params):
    """What it adds to no update at all; the last of many times."""
    nothing = jax.tree.map(jnp.zeros_like, params)
    state = tx.init(COMPLEX)
    for _ in range(100):
        found, state = tx.update(nothing, state, params)
    return np.asarray(found["w"])


def test_complex_weights_are_pulled_as_their_formulas_say():
    """By NumPy, whose inner products and transposes are conjugate."""
    w0 = np.asarray(COMPLEX["w"])
    w = w0 + np.linspace(0, 1, 15).reshape(5, 3) * 1j
    params, plan = {"w": jnp.asarray(w)}, complex_plan()
    size, size0 = np.linalg.norm(w), np.linalg.norm(w0)
    turned = size0 / size * (np.vdot(w, w0).real / size**2 * w - w0)
    found = pull(swr_optax.l2_directions(1.0, plan), params)
    np.testing.assert_allclose(found, turned, rtol=1e-4, atol=1e-5)
    isometry = 4 * w @ (w.conj().T @ w - np.eye(3))
    found = pull(swr_optax.orthogonal_decay(1.0, 1.0, plan), params)
    np.testing.assert_allclose(found, -isometry, rtol=1e-3)
    left, sizes, right = np.linalg.svd(w)
    of_largest = 4 * sizes[0] * (sizes[0] ** 2 - 1) * np.outer(left[:, 0], right[0])
    found = pull(swr_optax.spectral_regularization(1.0, plan), params)
    np.testing.assert_allclose(found, of_largest, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["upgd", "wasserstein_l2", "weight_clipping"])
def test_what_has_no_order_cannot_be_sorted_or_clipped(name):
    tx = REMEDIES[name](complex_plan(), 0.25)
    with pytest.raises(TypeError, match=f"{name} is for real parameters, and w is co"):
        tx.update(COMPLEX, tx.init(COMPLEX), COMPLEX)
    if name == "upgd":
        with pytest.raises(TypeError, match="dash is for real parameters, and w is"):
            swr_optax.dash(COMPLEX, COMPLEX, complex_plan())


@pytest.mark.parametrize("name", REMEDIES)
def test_jits_and_needs_params(name):
    network = mlp()
    tx = REMEDIES[name](network.plan, 0.25)
    state, moves = tx.init(network.params), moves_of(network.params)
    found, expected = (
        readable(update(moves, state, network.params))
        for update in (jax.jit(tx.update), tx.update)
    )
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=f"^{name} needs the parameters: call update"):
        tx.update(moves, state)


@pytest.mark.parametrize("name", WITH_COEFFICIENT)
def test_vmaps_over_seeds_and_coefficients(name):
    network = mlp()
    coefficients = jnp.array([0.0, 0.1, 0.25])
    starts = [network.params, *(NETWORKS["mlp"](seed).params for seed in (1, 2))]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)

    def steps(coefficient, params):
        tx = REMEDIES[name](network.plan, coefficient)
        state = tx.init(params)
        for _ in range(2):
            moves, state = tx.update(moves_of(params), state, params)
            params = optax.apply_updates(params, moves)
        return params

    found = jax.jit(jax.vmap(steps))(coefficients, together)
    for k, (coefficient, params) in enumerate(zip(coefficients, starts, strict=True)):
        chex.assert_trees_all_close(
            jax.tree.map(lambda leaf, k=k: leaf[k], found),
            steps(float(coefficient), params),
            rtol=1e-4,
            atol=1e-5,
        )


@pytest.mark.parametrize("name", SCHEDULED)
def test_takes_schedules_that_count_from_zero(name):
    network = mlp()

    def schedule(step):
        return jnp.where(step == 0, 0.1, 0.25)

    tx = REMEDIES[name](network.plan, schedule)
    state, moves = tx.init(network.params), moves_of(network.params)
    for coefficient in (0.1, 0.25, 0.25):
        fixed = REMEDIES[name](network.plan, coefficient)
        expected, _ = fixed.update(moves, state, network.params)
        found, state = tx.update(moves, state, network.params)
        chex.assert_trees_all_close(found, expected, rtol=1e-6)
    assert state.count == 3


@pytest.mark.parametrize("name", REMEDIES)
def test_parameters_and_state_may_be_donated(name):
    network = mlp()
    tx = optax.chain(optax.sgd(0.1), REMEDIES[name](network.plan, 0.25))

    def step(params, state):
        moves, state = tx.update(moves_of(params), state, params)
        return optax.apply_updates(params, moves), state

    donating = jax.jit(step, donate_argnums=(0, 1))
    for init in (tx.init, jax.jit(tx.init)):
        params = jax.tree.map(jnp.copy, network.params)
        expected, expected_state = params, tx.init(params)
        for _ in range(2):
            expected, expected_state = step(expected, expected_state)
        found, state = donating(params, init(params))
        found, state = donating(found, state)
        chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda _, key: swr_optax.shrink_and_perturb_each_step(0.1, 0.1, fresh, key=key),
        lambda plan, key: swr_optax.spectral_regularization(0.1, plan, key=key),
        lambda _, key: swr_optax.upgd(key=key),
    ],
)
def test_a_key_outlives_a_donated_state(make):
    network = mlp()
    key = jax.random.key(5)
    tx = make(network.plan, key)
    update = jax.jit(tx.update, donate_argnums=1)
    moves = moves_of(network.params)
    first, _ = update(moves, tx.init(network.params), network.params)
    second, _ = update(moves, tx.init(network.params), network.params)
    chex.assert_trees_all_equal(first, second)
    assert not key.is_deleted()


@pytest.mark.parametrize("name", REMEDIES)
def test_what_is_masked_out_passes(name):
    network = mlp()
    mask = {"first": True, "second": False}
    tx = optax.masked(REMEDIES[name](network.plan, 0.25), mask)
    alone = REMEDIES[name](network.plan, 0.25)
    params = jax.tree.map(lambda p: 1.5 * p + 0.1, network.params)
    moves = moves_of(params)
    found, _ = tx.update(moves, tx.init(network.params), params)
    chex.assert_trees_all_equal(found["second"], moves["second"])
    assert (found["first"]["w"] != moves["first"]["w"]).any()
    if name not in ("upgd", "spectral_regularization"):  # These draw other numbers.
        whole, _ = alone.update(moves, alone.init(network.params), params)
        chex.assert_trees_all_close(found["first"], whole["first"], rtol=1e-6)


@pytest.mark.parametrize("name", REMEDIES)
def test_a_missing_update_stays_missing(name):
    network = mlp()
    tx = REMEDIES[name](network.plan, 0.25)
    params = jax.tree.map(lambda p: 1.5 * p + 0.1, network.params)
    moves = moves_of(params)
    moves["second"] = {"w": None, "b": None}
    found, _ = tx.update(moves, tx.init(network.params), params)
    assert found["second"] == {"w": None, "b": None}
    assert (found["first"]["w"] != moves["first"]["w"]).any()


@pytest.mark.parametrize("name", REMEDIES)
def test_what_in_the_state_is_parameters_can_be_told(name):
    network = mlp()
    tx = REMEDIES[name](network.plan, 0.25)
    state = tx.init(network.params)
    if name == "spectral_regularization":
        return  # The number of its vectors is known with the parameters alone.
    doubled = optax.tree.map_params(tx, lambda leaf: 2 * leaf, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(doubled, state)


@pytest.mark.parametrize(
    "make",
    [
        swr_optax.l2_directions,
        swr_optax.spectral_regularization,
        swr_optax.wasserstein_l2,
        lambda c, plan: swr_optax.orthogonal_decay(c, 0.1, plan),
        lambda c, plan: swr_optax.orthogonal_decay(0.1, c, plan),
    ],
)
def test_wrong_coefficients_are_named(make):
    plan = mlp().plan
    with pytest.raises(ValueError, match="must not be negative, not -1"):
        make(-1.0, plan)
    with pytest.raises(ValueError, match="must not be negative, not nan"):
        make(float("nan"), plan)
    with pytest.raises(ValueError, match=r"must be a scalar, not of shape \(2,\)"):
        make(jnp.ones(2), plan)
    for value in ("0.1", None, [0.1], 1j, True):
        with pytest.raises(TypeError, match="must be a number from 0 up or a schedule"):
            make(value, plan)


@pytest.mark.parametrize("name", WITH_COEFFICIENT)
def test_a_zero_coefficient_changes_nothing(name):
    if name in ("upgd", "weight_clipping", "hare_and_tortoise"):
        return  # An optimiser that stands still, a bound of zero, no tortoise.
    network = mlp()
    tx = REMEDIES[name](network.plan, 0.0)
    params = jax.tree.map(lambda p: 1.5 * p + 0.1, network.params)
    moves = moves_of(params)
    found, _ = tx.update(moves, tx.init(network.params), params)
    chex.assert_trees_all_close(found, moves, rtol=1e-6)

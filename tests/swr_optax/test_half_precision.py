"""Parameters of other types than float32."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax
from swr_optax import metrics
from two_layers import forward, make_plan, norms_of, two_layers


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
    np.testing.assert_allclose(state.owed_log_scalers, -0.5 * 2**-10, rtol=1e-2)
    assert not state.log_scalers.any()


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


WEIGHTS = {
    "normal": jax.random.normal(jax.random.key(0), (32, 32)),
    "ones": jnp.ones((32, 32)),
}


def norms_from_twice(weight, coefficient, steps):
    """Norm over its reference while updates are zero, before each step."""
    params = {"w": weight}
    plan = swr_optax.plan_rescaling(
        lambda p, x: x @ p["w"], params, jnp.ones((1, 32), weight.dtype)
    )
    tx = swr_optax.soft_weight_rescaling(coefficient, plan)

    def step(carry, _):
        params, state = carry
        norm = metrics.weight_norms(params, plan)[0] / state.reference_norms[0]
        moves, state = tx.update({"w": jnp.zeros_like(weight)}, state, params)
        return (optax.apply_updates(params, moves), state), norm

    start = ({"w": 2 * weight}, tx.init(params))
    _, norms = jax.jit(lambda c: jax.lax.scan(step, c, None, steps + 1))(start)
    return norms


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", WEIGHTS)
def test_rounding_does_not_swallow_small_scalers(name, dtype):
    """They are owed until they survive it."""
    norms = norms_from_twice(WEIGHTS[name].astype(dtype), 1e-3, 2000)
    expected = 1 + 0.999 ** np.arange(2001)
    np.testing.assert_allclose(norms[200], expected[200], rtol=0.01)
    np.testing.assert_allclose(norms, expected, rtol=0.025)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", WEIGHTS)
def test_norms_come_to_rest_near_their_reference(name, dtype):
    norms = norms_from_twice(WEIGHTS[name].astype(dtype), 0.1, 2000)
    assert abs(norms[-1] - 1) <= 2 * jnp.finfo(dtype).eps * 1.01
    assert (norms[200:] == norms[-1]).all()


def test_what_is_paid_and_what_is_owed_add_up():
    params, _ = two_layers(hidden=64)
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    tx = swr_optax.soft_weight_rescaling(0.01, make_plan(params))
    state = tx.init(params)
    params = jax.tree.map(lambda p: 2 * p, params)
    nothing = jax.tree.map(jnp.zeros_like, params)
    for k in range(5):
        owed = np.asarray(state.owed_log_scalers)
        moves, state = jax.jit(tx.update)(nothing, state, params)
        wanted = owed + np.log(0.01 / (2 * np.exp(owed)) + 0.99)
        if k < 3:  # 1, 1.5 and 2 per cent: the threshold is 1.6.
            assert (np.abs(wanted) < 0.0157).all() != state.log_scalers.any()
        found = state.log_scalers + state.owed_log_scalers
        np.testing.assert_allclose(found, wanted, rtol=1e-2)
        assert not (state.log_scalers * state.owed_log_scalers).any()
        params = optax.apply_updates(params, moves)
        if state.log_scalers.any():
            break
    assert state.log_scalers.all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_all_leaves_of_a_layer_take_a_factor_at_the_same_step(dtype):
    """So that the function stays what it is, to rounding."""
    params, _ = two_layers(hidden=64)
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    plan = make_plan(params)
    tx = swr_optax.soft_weight_rescaling(3e-3, plan)
    state = tx.init(params)
    params = start = jax.tree.map(lambda p: 2 * p, params)
    nothing = jax.tree.map(jnp.zeros_like, params)
    step = jax.jit(tx.update)
    paid = np.zeros(2)
    for _ in range(60):
        moves, state = step(nothing, state, params)
        params = optax.apply_updates(params, moves)
        paid += state.log_scalers
    assert (paid < -0.05).all()
    x = jax.random.normal(jax.random.key(5), (64, 5))
    old, new = (forward(jax.tree.map(jnp.float32, p), x) for p in (start, params))
    error = metrics.proportionality_error(old, new)
    assert error < 4 * jnp.finfo(dtype).eps
    np.testing.assert_allclose(
        np.linalg.norm(new) / np.linalg.norm(old),
        np.exp(plan.output_exponents[0] @ paid),
        rtol=4 * float(jnp.finfo(dtype).eps),
    )


def test_layers_whose_leaves_are_all_float32_owe_nothing():
    params, _ = two_layers()
    params["second"]["b"] = params["second"]["b"].astype(jnp.bfloat16)
    narrow = make_plan(params)  # Both layers' scalers reach the second bias.
    wide = make_plan(params, exclude=lambda path: path == "second/b")
    grown = jax.tree.map(lambda p: 1.001 * p, params)
    nothing = jax.tree.map(jnp.zeros_like, params)
    for plan, owes in ((narrow, [True, True]), (wide, [False, False])):
        tx = swr_optax.soft_weight_rescaling(0.5, plan)
        _, state = tx.update(nothing, tx.init(params), grown)
        np.testing.assert_array_equal(state.owed_log_scalers != 0, owes)
        np.testing.assert_array_equal(state.log_scalers == 0, owes)


def attention(sizes):
    """Query, key and value, each so many times its reference, and a step of SWR.

    Under priority "function" query and key can only be scaled against each other.
    """
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        name: jax.random.normal(key, (8, 8), jnp.bfloat16)
        for name, key in zip("qkv", keys, strict=True)
    }

    def attend(p, x):
        scores = jax.nn.softmax((x @ p["q"]) @ (x @ p["k"]).T)
        return scores @ (x @ p["v"])

    x = jnp.ones((4, 8), jnp.bfloat16)
    plan = swr_optax.plan_rescaling(attend, params, x, priority="function")
    tx = swr_optax.soft_weight_rescaling(1e-2, plan)
    nothing = jax.tree.map(jnp.zeros_like, params)

    @jax.jit
    def step(params, state):
        moves, state = tx.update(nothing, state, params)
        return optax.apply_updates(params, moves), state

    grown = {name: size * params[name] for name, size in zip("qkv", sizes, strict=True)}
    return grown, tx.init(params), step, [x.path for x in plan.layers]


def norm(array):
    return np.linalg.norm(array.astype(np.float32))


def test_what_cancels_is_not_owed():
    """Query and key are both too large by the same: neither can change."""
    params, state, step, layers = attention((2, 2, 2))
    changed = params
    for _ in range(50):
        changed, state = step(changed, state)
        owed = dict(zip(layers, state.owed_log_scalers, strict=True))
        assert abs(owed["q"]) < 1e-5
        assert abs(owed["k"]) < 1e-5
    chex.assert_trees_all_equal(changed["q"], params["q"])
    chex.assert_trees_all_equal(changed["k"], params["k"])
    np.testing.assert_allclose(
        norm(changed["v"]) / norm(params["v"]), (1 + 0.99**50) / 2, rtol=0.02
    )


def test_weights_that_are_tied_pay_together():
    params, state, step, layers = attention((1, 3, 1))
    changed, paid = params, []
    for _ in range(100):
        changed, state = step(changed, state)
        owed = dict(zip(layers, state.owed_log_scalers, strict=True))
        np.testing.assert_allclose(owed["q"], -owed["k"], atol=1e-6)
        scalers = dict(zip(layers, state.log_scalers, strict=True))
        assert (scalers["q"] != 0) == (scalers["k"] != 0)
        assert scalers["q"] == 0 or abs(scalers["q"]) >= 2 * 2**-7
        paid.append(scalers["q"])
    assert 3 < np.count_nonzero(paid) < 50
    growth = {name: norm(changed[name]) / norm(params[name]) for name in "qkv"}
    np.testing.assert_allclose(growth["q"] * growth["k"], 1, rtol=0.02)
    np.testing.assert_allclose(growth["q"], np.exp(sum(paid)), rtol=0.02)
    assert growth["v"] == 1


def tied(names, shape, forward, groups=None):
    """Growth of the norms of weights after many still steps, by type and layer.

    Under priority "function", with the first weight three times its reference.
    """
    keys = jax.random.split(jax.random.key(0), len(names))
    found = {}
    for dtype in (jnp.float32, jnp.bfloat16):
        start = {
            name: (jax.random.normal(key, shape) / shape[0] ** 0.5).astype(dtype)
            for name, key in zip(names, keys, strict=True)
        }
        plan = swr_optax.plan_rescaling(
            forward,
            start,
            jnp.ones((2, shape[0])),
            priority="function",
            group_fn=None if groups is None else lambda name: name,
        )
        assert not plan.unmet
        tx = swr_optax.soft_weight_rescaling(groups or 1e-2, plan)
        params = {**start, names[0]: 3 * start[names[0]]}
        nothing = jax.tree.map(jnp.zeros_like, params)

        def step(_, carry, tx=tx, nothing=nothing):
            params, state = carry
            moves, state = tx.update(nothing, state, params)
            return optax.apply_updates(params, moves), state

        steps = jax.jit(
            lambda carry, step=step: jax.lax.fori_loop(0, 3000, step, carry)
        )
        params, _ = steps((params, tx.init(start)))
        found[dtype] = [norm(params[name]) / norm(start[name]) for name in names]
    return found[jnp.float32], found[jnp.bfloat16]


def test_shares_that_are_unequal_are_not_lost():
    """One layer has to give what eight others take: each by two epsilons at most."""

    def forward(params, x):
        branch = x.astype(jnp.float32)
        for weight in params.values():
            branch = branch @ weight.astype(jnp.float32)
        return x + branch

    wide, narrow = tied([f"w{k}" for k in range(9)], (16, 16), forward)
    np.testing.assert_allclose(wide, 3 ** (1 / 9), rtol=1e-3)
    np.testing.assert_allclose(narrow, wide, rtol=2.2 * 2**-7)


@pytest.mark.parametrize("still", [0, 1e-12])
def test_a_group_that_is_still_holds_up_none_that_it_is_tied_to(still):
    """Its weights follow the others, whose shares are too small for 16 bits."""

    def forward(params, x):
        return sum(x @ weight for weight in params.values())

    names = [f"w{k}" for k in range(8)]
    groups = dict.fromkeys(names[1:], still) | {names[0]: 1e-2}
    wide, narrow = tied(names, (16, 16), forward, groups)
    # All are scaled alike, until the one that is not still has its own norm.
    np.testing.assert_allclose(wide[1:], wide[0] / 3, rtol=1e-3)
    np.testing.assert_allclose(wide[0], 1, atol=0.1)
    np.testing.assert_allclose(narrow, wide, rtol=2.2 * 2**-7)


def test_what_was_applied_is_what_weights_got_in_any_type():
    """Also to a weight without a norm, which is tied to one that has too much."""

    def forward(params, x):
        return x @ params["a"] + x @ params["b"]

    for dtype in (jnp.float32, jnp.bfloat16):
        start = {"a": jnp.ones((4, 4), dtype), "b": jnp.zeros((4, 4), dtype)}
        plan = swr_optax.plan_rescaling(
            forward, start, jnp.ones((2, 4), dtype), priority="function"
        )
        tx = swr_optax.soft_weight_rescaling(0.5, plan)
        params = jax.tree.map(lambda p: 2 * jnp.ones_like(p), start)
        nothing = jax.tree.map(jnp.zeros_like, params)
        moves, state = tx.update(nothing, tx.init(start), params)
        np.testing.assert_allclose(state.log_scalers, np.log(0.75) / 2, rtol=1e-6)
        for moved in optax.apply_updates(params, moves).values():
            np.testing.assert_allclose(moved.astype(float), 3**0.5, rtol=2**-8)


def test_a_reset_forgives_what_is_owed():
    """What was owed was a pull to norms that are no longer the reference."""
    params, plan = two_layers()
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    plan = make_plan(params)
    tx = swr_optax.soft_weight_rescaling(1e-3, plan, reset_steps=[1])
    state = tx.init(params)
    grown = jax.tree.map(lambda p: 2 * p, params)
    nothing = jax.tree.map(jnp.zeros_like, params)
    _, owing = tx.update(nothing, state, grown)
    assert owing.owed_log_scalers.all()
    by_hand = swr_optax.reset_reference_norms(owing, grown, plan)
    _, automatic = tx.update(nothing, owing, grown)
    for reset in (by_hand, automatic):
        np.testing.assert_array_equal(
            reset.reference_norms, metrics.weight_norms(grown, plan)
        )
        assert not reset.owed_log_scalers.any()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_wide_schedule_does_not_widen_the_state(dtype):
    """Under x64, float64 coefficients meet float32 parameters."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda p: p.astype(dtype), two_layers()[0])
        plan = make_plan(params)
        wide = optax.linear_schedule(jnp.float64(0.1), jnp.float64(0.0), 10)
        for coefficient in (
            wide,
            jnp.float64(0.1),
            np.float64(0.1),
            {"feature": wide, "classifier": 0.5},
        ):
            tx = swr_optax.soft_weight_rescaling(coefficient, plan, reset_steps=[1])

            def step(state, _, tx=tx):
                return tx.update(params, state, params)[1], None

            state, _ = jax.lax.scan(step, tx.init(params), None, 3)
            assert state.log_scalers.dtype == jnp.float32


def test_complex_parameters():
    params = {"w": jnp.array([[3.0 + 4.0j]]), "v": jnp.ones((1, 1), jnp.complex64)}
    plan = swr_optax.sequential_plan(params, ["w", "v"])
    tx = swr_optax.soft_weight_rescaling(0.5, plan)
    state = tx.init(params)
    np.testing.assert_allclose(state.reference_norms, [5, 1])
    moves, state = tx.update(params, state, params)
    np.testing.assert_allclose(moves["w"], 0.5 * params["w"], rtol=1e-6)
    assert state.log_scalers.dtype == jnp.float32

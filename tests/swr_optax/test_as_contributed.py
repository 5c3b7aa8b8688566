"""What Optax demands of optimisers that are contributed to it.

Its own tests of them are no part of the package; these demand the same of Adam
with Soft Weight Rescaling behind it.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax
from two_layers import make_plan, randomly, two_layers


def chained(plan, coefficient=0.1, rate=1e-2):
    return optax.chain(
        optax.adam(rate), swr_optax.soft_weight_rescaling(coefficient, plan)
    )


def parabola(dtype):
    target = {"w": jnp.array([1.0, -1.0, 1.0], dtype)}
    start = {"w": jnp.array([-1.0, 2.0, 1.0], dtype)}
    return start, target, lambda p: jnp.sum(jnp.abs(p["w"] - target["w"]) ** 2)


def rosenbrock(dtype):
    target = {"w": jnp.array([1.0, 1.0], dtype)}

    def loss(p):
        x, y = p["w"]
        return jnp.abs(1 - x) ** 2 + 100 * jnp.abs(y - x**2) ** 2

    return {"w": jnp.zeros(2, dtype)}, target, loss


def matrix_and_vector(dtype):
    target = {"w": jnp.array([[3.0, -2.0], [1.0, 4.0]], dtype), "v": jnp.ones(3, dtype)}
    start = {"w": jnp.eye(2, dtype=dtype), "v": jnp.full(3, 0.5, dtype)}

    def loss(p):
        differences = jax.tree.map(lambda a, b: jnp.abs(a - b) ** 2, p, target)
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(differences))

    return start, target, loss


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
@pytest.mark.parametrize("problem", [parabola, rosenbrock, matrix_and_vector])
def test_it_converges_once_the_coefficient_has_gone(problem, dtype):
    start, target, loss = problem(dtype)
    plan = swr_optax.sequential_plan(start, list(start))
    tx = chained(plan, optax.linear_schedule(0.1, 0.0, 500))

    def step(carry, _):
        params, state = carry
        grads = jax.tree.map(jnp.conj, jax.grad(loss)(params))
        moves, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, moves), state), None

    carry = (start, tx.init(start))
    (params, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, None, 6000))(carry)
    chex.assert_trees_all_close(params, target, rtol=3e-2, atol=3e-2)


def test_map_params_reaches_adams_moments_and_leaves_our_state():
    params, plan = two_layers()
    tx = chained(plan)
    _, state = tx.update(randomly(params), tx.init(params), params)
    for map_params in (optax.tree.map_params, optax.tree_map_params):
        chex.assert_trees_all_equal(map_params(tx, lambda leaf: leaf, state), state)
        found = map_params(
            tx, lambda _, name: name, state, BY_NAME, transform_non_params=lambda _: 0
        )
        assert found[0][0].mu == BY_NAME
        assert found[1] == swr_optax.SoftWeightRescalingState(0, 0, 0, 0)


BY_NAME = {layer: {name: name for name in "wb"} for layer in ("first", "second")}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: optax.masked(tx, {"first": False, "second": True}),
        lambda tx: optax.partition({"all": tx}, {"first": "all", "second": "all"}),
        lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
        lambda tx: optax.chain(swr_optax.l2_init(0.1), tx),
    ],
)
def test_map_params_works_inside_wrappers(wrap):
    params, plan = two_layers()
    tx = wrap(chained(plan))
    state = tx.init(params)
    found = optax.tree.map_params(tx, lambda leaf: leaf, state)
    chex.assert_trees_all_equal(found, state)


def test_parameters_without_leaves_are_still_refused():
    _, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.1, plan)
    for nothing in ({}, [], (), None):
        with pytest.raises(ValueError, match="params do not fit the plan: missing"):
            tx.init(nothing)


@pytest.mark.parametrize(
    "dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64, "mixed"]
)
def test_states_and_updates_keep_shapes_and_types(dtype):
    """Also the weak ones, or a second call would compile again."""
    with jax.enable_x64(dtype == jnp.float64):
        params, _ = two_layers()
        if dtype == "mixed":
            params["first"]["w"] = params["first"]["w"].astype(jnp.bfloat16)
            params["second"]["b"] = params["second"]["b"].astype(jnp.float16)
        else:
            params = jax.tree.map(lambda p: p.astype(dtype), params)
        tx = chained(make_plan(params), optax.linear_schedule(0.1, 0.0, 9))
        state = jax.jit(tx.init)(params)

        @jax.jit
        def step(params, state, flag):
            moves, new = tx.update(params, state, params)
            chex.assert_trees_all_equal_shapes_and_dtypes(moves, params)
            # Refused unless both branches are of the same types, weak ones too.
            new = jax.lax.cond(flag, lambda: new, lambda: state)
            return optax.apply_updates(params, moves), new

        for flag in (True, False, True):
            params, new = step(params, state, flag)
            chex.assert_trees_all_equal_shapes_and_dtypes(new, state)
            state = new
        assert step._cache_size() == 1
        assert [leaf.weak_type for leaf in jax.tree.leaves(state)].count(True) == 0


def test_extra_arguments_are_passed_over():
    params, plan = two_layers()
    tx = chained(plan)
    tx.update(params, tx.init(params), params, unexpected=1, value=2.0)


def test_injected_hyperparameters_change_nothing():
    params, plan = two_layers()
    grads = randomly(params)

    def factory(learning_rate, coefficient):
        return chained(plan, coefficient, learning_rate)

    tx = factory(1e-2, 0.1)
    injected = optax.inject_hyperparams(factory)(learning_rate=1e-2, coefficient=0.1)
    moves, state = jax.jit(tx.update)(grads, jax.jit(tx.init)(params), params)
    found, wrapped = jax.jit(injected.update)(
        grads, jax.jit(injected.init)(params), params
    )
    chex.assert_trees_all_close(found, moves, rtol=1e-5, atol=1e-7)
    chex.assert_trees_all_close(wrapped.inner_state, state, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_gradients_may_be_accumulated(dtype):
    params = jax.tree.map(lambda p: p.astype(dtype), two_layers()[0])
    tx = optax.MultiSteps(chained(make_plan(params)), 4)
    moves, _ = jax.jit(tx.update)(params, jax.jit(tx.init)(params), params)
    chex.assert_trees_all_equal(moves, jax.tree.map(jnp.zeros_like, params))


def test_parameters_and_state_can_be_donated_together():
    params, plan = two_layers()
    tx = optax.chain(swr_optax.l2_init(1e-3), chained(plan))
    expected = params, tx.init(params)

    def step(params, state):
        moves, state = tx.update(params, state, params)
        return optax.apply_updates(params, moves), state

    donating = jax.jit(step, donate_argnums=(0, 1))
    plain = jax.jit(step)
    found = jax.tree.map(jnp.copy, expected)
    found = (found[0], tx.init(found[0]))
    for _ in range(3):
        params, (l2_init, (adam, swr)) = found
        found, expected = donating(*found), plain(*expected)
        # The last step's log_scalers are no part of this one, and so stay.
        gone = jax.tree.leaves((params, l2_init, adam, swr.reference_norms))
        assert all(leaf.is_deleted() for leaf in gone)
    chex.assert_trees_all_close(found, expected, rtol=1e-6)


def test_it_runs_inside_scan_and_vmap():
    params, plan = two_layers()
    tx = chained(plan, optax.linear_schedule(0.1, 0.0, 5))

    @functools.partial(jax.vmap, in_axes=(None, 0))
    def train(params, scale):
        def step(carry, _):
            params, state = carry
            grads = jax.tree.map(lambda p: scale * p, params)
            moves, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, moves), state), None

        return jax.lax.scan(step, (params, tx.init(params)), None, 4)[0]

    _, state = train(params, jnp.array([1.0, -1.0]))
    np.testing.assert_array_equal(state[1].count, [4, 4])
    assert state[1].log_scalers.shape == (2, 2)

"""Reference norms and running statistics, from a whole optimiser's state."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from networks import network
import swr_optax
from swr_optax import metrics
from two_layers import make_plan, norms_of, randomly, two_layers


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


def batch_norm(coefficient=0.5):
    """A network with running statistics, its plan, and gradients that double it."""
    net = network("cnn_bn")
    plan = net.plan()
    swr = optax.chain(
        optax.sgd(1.0), swr_optax.soft_weight_rescaling(coefficient, plan)
    )
    stats = jax.tree.map(lambda leaf: leaf + 1.0, net.stats)
    return net.params, stats, plan, swr, jax.tree.map(jnp.negative, net.params)


class EveryOther(NamedTuple):
    odd: jax.Array
    inner: Any


def every_other_step(inner):
    """A wrapper that nobody else knows."""

    def update(updates, state, params=None):
        new_updates, new_inner = inner.update(updates, state.inner, params)
        updates, kept = jax.tree.map(
            lambda new, old: jnp.where(state.odd, new, old),
            (new_updates, new_inner),
            (optax.tree.zeros_like(updates), state.inner),
        )
        return updates, EveryOther(~state.odd, kept)

    return optax.GradientTransformation(
        lambda params: EveryOther(jnp.array(False), inner.init(params)), update
    )


NOT_AT_FIRST = {
    "MultiSteps": (
        lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
        "MultiStepsState",
    ),
    "apply_if_finite": (lambda tx: optax.apply_if_finite(tx, 9), "ApplyIfFiniteState"),
    "conditionally_transform": (
        lambda tx: optax.conditionally_transform(tx, lambda step: step % 2 == 1),
        "ConditionallyTransformState",
    ),
    "conditionally_mask": (
        lambda tx: optax.conditionally_mask(tx, lambda step: step % 2 == 1),
        "ConditionallyMaskState",
    ),
    "in a chain": (
        lambda tx: optax.chain(
            optax.identity(),
            optax.conditionally_mask(tx, lambda step: step % 2 == 1),
        ),
        "ConditionallyMaskState",
    ),
    "of the user's own": (every_other_step, "EveryOther"),
}


@pytest.mark.parametrize("wrapper", NOT_AT_FIRST)
def test_statistics_follow_only_steps_that_were_taken(wrapper):
    params, stats, plan, swr, grads = batch_norm()
    wrap, name = NOT_AT_FIRST[wrapper]
    tx = wrap(swr)
    start = tx.init(params)
    with pytest.raises(ValueError, match=f"{name}, which may skip steps for all"):
        swr_optax.rescale_statistics(stats, start, plan)

    bad = jax.tree.map(lambda g: g * jnp.nan, grads)
    skipped = bad if wrapper == "apply_if_finite" else grads
    step = jax.jit(tx.update)
    _, waiting = step(skipped, start, params)
    found = swr_optax.rescale_statistics(stats, waiting, plan, previous=start)
    chex.assert_trees_all_equal(found, stats)

    _, stepped = step(grads, waiting, params)
    found = swr_optax.rescale_statistics(stats, stepped, plan, previous=waiting)
    # Each weight doubled and came half of the way back: c is 3/4 everywhere.
    for name, power in (("mean", 1), ("var", 2)):
        np.testing.assert_allclose(
            found["BatchNorm_0"][name],
            0.75**power * stats["BatchNorm_0"][name],
            rtol=1e-6,
        )

    # The next step is skipped, and the scalers of the last are still there.
    _, waiting = step(skipped, stepped, params)
    found = swr_optax.rescale_statistics(stats, waiting, plan, previous=stepped)
    chex.assert_trees_all_equal(found, stats)


EVERY_STEP = {
    "chain": lambda make: optax.chain(optax.identity(), optax.chain(make())),
    "named_chain": lambda make: optax.named_chain(("swr", make())),
    "masked": lambda make: optax.masked(make(), lambda p: dict.fromkeys(p, True)),
    "partition": lambda make: optax.partition(
        {"all": make()}, lambda p: dict.fromkeys(p, "all")
    ),
    "inject_hyperparams": lambda make: optax.inject_hyperparams(
        lambda coefficient: make(coefficient)
    )(0.5),
    "behind schedule_free": lambda make: optax.chain(
        optax.contrib.schedule_free(optax.sgd(1.0), 1.0, b1=0.5),
        optax.scale(0.0),
        make(),
    ),
}


@pytest.mark.parametrize("wrapper", EVERY_STEP)
def test_wrappers_that_take_every_step_need_no_previous_state(wrapper):
    params, stats, plan, _, _ = batch_norm()

    def make(coefficient=0.5):
        return swr_optax.soft_weight_rescaling(coefficient, plan)

    tx = EVERY_STEP[wrapper](make)
    state = tx.init(params)
    doubled = jax.tree.map(lambda p: 2 * p, params)
    _, new = tx.update(jax.tree.map(jnp.zeros_like, params), state, doubled)
    found = swr_optax.rescale_statistics(stats, new, plan)
    np.testing.assert_allclose(
        found["BatchNorm_0"]["mean"], 0.75 * stats["BatchNorm_0"]["mean"], rtol=1e-6
    )
    again = swr_optax.rescale_statistics(stats, new, plan, previous=state)
    chex.assert_trees_all_equal(again, found)


def test_each_of_two_transformations_counts_its_own_steps():
    """One rescales always, the other at every other step."""
    params, stats, plan, _, _ = batch_norm()
    half = swr_optax.soft_weight_rescaling(0.5, plan)
    other = swr_optax.soft_weight_rescaling(1.0, plan)
    tx = optax.chain(
        half, optax.conditionally_transform(other, lambda step: step % 2 == 0)
    )
    doubled = jax.tree.map(lambda p: 2 * p, params)
    nothing = jax.tree.map(jnp.zeros_like, params)
    states = [tx.init(params)]
    for expected in (0.5, 0.75):
        states.append(tx.update(nothing, states[-1], doubled)[1])
        found = swr_optax.rescale_statistics(
            stats, states[-1], plan, previous=states[-2]
        )
        np.testing.assert_allclose(
            found["BatchNorm_0"]["mean"],
            expected * stats["BatchNorm_0"]["mean"],
            rtol=1e-5,
        )


@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (
            lambda tx: optax.contrib.schedule_free(tx, 0.1),
            "ScheduleFreeState around soft_weight_rescaling, whose parameters are aver",
        ),
        (
            lambda tx: optax.contrib.mechanize(tx),
            "MechanicState around soft_weight_rescaling, whose updates it changes",
        ),
    ],
)
def test_statistics_cannot_follow_what_a_wrapper_changes(wrap, name):
    params, stats, plan, swr, _ = batch_norm()
    state = wrap(swr).init(params)
    message = f"opt_state holds a {name}"
    for previous in (None, state):
        with pytest.raises(ValueError, match=message):
            swr_optax.rescale_statistics(stats, state, plan, previous=previous)


def test_lookahead_s_slow_parameters_are_averages_too():
    params, stats, plan, swr, _ = batch_norm()
    both = optax.LookaheadParams.init_synced(params)
    state = optax.lookahead(swr, 5, 0.5).init(both)
    with pytest.raises(ValueError, match=r"LookaheadState around .* the slow param"):
        swr_optax.rescale_statistics(stats, state, plan)


def sam(opaque):
    return optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1), opaque_mode=opaque)


def test_statistics_cannot_follow_what_is_undone_beside_it():
    params, stats, plan, swr, _ = batch_norm()
    for other, message in (
        (sam(opaque=False), r"SAMState beside .* the optimiser that sam is given"),
        (optax.contrib.cocob(), r"COCOBState beside .* another optimiser"),
    ):
        state = optax.chain(other, swr).init(params)
        with pytest.raises(ValueError, match=message):
            swr_optax.rescale_statistics(stats, state, plan)
    # Which goes back within a step, or has the rescaled parameters to go back to.
    state = optax.chain(sam(opaque=True), swr).init(params)
    chex.assert_trees_all_equal(swr_optax.rescale_statistics(stats, state, plan), stats)
    chained = optax.chain(optax.sgd(0.1), swr)
    state = optax.contrib.sam(chained, optax.sgd(0.1)).init(params)
    found = swr_optax.rescale_statistics(stats, state, plan, previous=state)
    chex.assert_trees_all_equal(found, stats)


def test_the_state_of_another_optimiser_is_no_previous_state():
    params, stats, plan, swr, _ = batch_norm()
    two = optax.chain(swr, swr).init(params)
    with pytest.raises(ValueError, match=r"previous holds 1 .* and opt_state 2: pass"):
        swr_optax.rescale_statistics(stats, two, plan, previous=swr.init(params))
    with pytest.raises(ValueError, match="holds no SoftWeightRescalingState"):
        swr_optax.rescale_statistics(
            stats, two, plan, previous=optax.adam(0.1).init(params)
        )


# Networks that change while they learn.


def headed(*heads):
    """A body with heads, its plan, and a chain in a wrapper."""
    keys = jax.random.split(jax.random.key(0), 1 + len(heads))
    params = {"body": {"w": jax.random.normal(keys[0], (4, 6)), "b": jnp.ones(6)}}
    for key, (name, outputs) in zip(keys[1:], heads, strict=True):
        params[name] = jax.random.normal(key, (6, outputs))

    def forward(params, x):
        x = jax.nn.relu(x @ params["body"]["w"] + params["body"]["b"])
        return [x @ params[name] for name, _ in heads]

    plan = swr_optax.plan_rescaling(forward, params, jnp.ones((2, 4)))
    swr = swr_optax.soft_weight_rescaling(0.5, plan)
    return params, plan, swr, optax.apply_if_finite(optax.chain(optax.sgd(1.0), swr), 9)


def test_a_network_that_grows_a_head_keeps_its_reference_norms():
    params, plan, swr, tx = headed(("a", 2), ("b", 3))
    state = tx.init(params)
    first = metrics.weight_norms(params, plan)
    grads = jax.tree.map(jnp.negative, params)  # Which double it.
    updates, state = jax.jit(tx.update)(grads, state, params)
    params = optax.apply_updates(params, updates)

    fresh, new_plan, new_swr, new_tx = headed(("b", 5), ("a", 2), ("c", 1))
    grown = {**fresh, "body": params["body"], "a": params["a"]}
    own = state.inner_state[1]
    for tried, advice in (
        (swr, "surplus c: .*, and carry_reference_norms takes"),
        (new_swr, r"of shape \(3,\), and plan has 4 layers: .*carry_reference_norms"),
    ):
        with pytest.raises(ValueError, match=advice):
            tried.update(grown, own, grown)

    new_state = jax.jit(
        lambda old, new: swr_optax.carry_reference_norms(old, plan, new, new_plan)
    )(state, new_tx.init(grown))
    chex.assert_trees_all_equal_structs(new_state, new_tx.init(grown))
    found, old = (
        dict(zip([layer.path for layer in plan.layers], norms, strict=True))
        for plan, norms in (
            (new_plan, new_state.inner_state[1].reference_norms),
            (plan, first),
        )
    )
    assert found["body/w"] == old["body/w"]
    assert found["a"] == old["a"]
    np.testing.assert_allclose(found["b"], np.linalg.norm(grown["b"]), rtol=1e-6)
    np.testing.assert_allclose(found["c"], np.linalg.norm(grown["c"]), rtol=1e-6)
    new_swr.update(grown, new_state.inner_state[1], grown)


def test_what_is_owed_is_carried_along():
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), two_layers()[0])
    plan = make_plan(params)
    tx = swr_optax.soft_weight_rescaling(1e-3, plan)
    moves = jax.tree.map(lambda p: p / 2, params)
    _, state = tx.update(moves, tx.init(params), params)
    assert state.owed_log_scalers.all()
    moved = optax.apply_updates(params, moves)
    carried = swr_optax.carry_reference_norms(state, plan, tx.init(moved), plan)
    chex.assert_trees_all_equal(carried.owed_log_scalers, state.owed_log_scalers)
    chex.assert_trees_all_equal(carried.reference_norms, state.reference_norms)
    assert carried.count == 0
    older = state._replace(owed_log_scalers=0.0)  # As it may be left out.
    carried = swr_optax.carry_reference_norms(older, plan, tx.init(moved), plan)
    assert not carried.owed_log_scalers.any()


# Shapes and older states.


def test_shapes_of_parameters_make_the_state_of_shapes():
    params, plan = two_layers()
    tx = optax.chain(optax.adam(1.0), swr_optax.soft_weight_rescaling(0.1, plan))
    shapes = jax.eval_shape(lambda: params)
    expected = jax.eval_shape(tx.init, params)
    found = tx.init(shapes)
    assert found[1] == expected[1]
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    with pytest.raises(ValueError, match="missing second/b, second/w"):
        tx.init({"first": shapes["first"]})


@pytest.mark.parametrize("layers", [1, 2])
def test_statistics_need_the_state_of_their_plan(layers):
    params, stats, plan, swr, _ = batch_norm()
    state = swr.init(params)
    other = swr_optax.SoftWeightRescalingState(
        *jax.tree.map(lambda a: a[:layers] if a.ndim else a, state[1])
    )
    said = r"has reference norms of shape \({},\), and plan has {} layers: it is the st"
    said = said.format(layers, len(plan.layers))
    with pytest.raises(ValueError, match=f"opt_state {said}"):
        swr_optax.rescale_statistics(stats, (state[0], other), plan)
    with pytest.raises(ValueError, match=f"previous {said}"):
        swr_optax.rescale_statistics(stats, state, plan, previous=(state[0], other))


def test_a_state_of_several_networks_says_so():
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.1, plan)
    seeds = jax.tree.map(lambda p: jnp.stack([p, p]), params)
    with pytest.raises(ValueError, match=r"shape \(2, 2\).*, which jax.vmap takes one"):
        swr_optax.reset_reference_norms(jax.vmap(tx.init)(seeds), seeds, plan)


def test_a_state_without_what_is_owed_takes_turns_scans_and_resets():
    """Weights of 2^17 entries and more are dealt with one by one."""
    params, plan = two_layers(inputs=8, hidden=2**15)
    tx = swr_optax.soft_weight_rescaling(0.1, plan)
    state = tx.init(params)
    older = swr_optax.SoftWeightRescalingState(*state[:3])

    def step(state, _):
        return tx.update(params, state, params)[::-1]

    for start in (state, older):
        last, moves = jax.lax.scan(step, start, length=2)
        if start is state:
            expected = moves
        chex.assert_trees_all_close(moves, expected, rtol=1e-6)
        reset = swr_optax.reset_reference_norms(last, params, plan)
        np.testing.assert_allclose(reset.reference_norms, norms_of(params), rtol=1e-6)


def test_a_state_without_what_is_owed_goes_on():
    """As it was before there was such a field, and is unpickled today."""
    params, plan = two_layers()
    tx = swr_optax.soft_weight_rescaling(0.1, plan, reset_steps=[1])
    state = tx.init(params)
    older = swr_optax.SoftWeightRescalingState(*state[:3])
    for _ in range(2):
        found, older = jax.jit(tx.update)(params, older, params)
        expected, state = tx.update(params, state, params)
        chex.assert_trees_all_close(found, expected, rtol=1e-6)

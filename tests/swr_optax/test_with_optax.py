"""Around, inside and behind Optax's own transformations."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swr_optax
from two_layers import forward, make_plan, norms_of, randomly, two_layers

OPTIMIZERS = {
    "adam": lambda: optax.adam(1e-2),
    "sgd": lambda: optax.sgd(0.1, momentum=0.9),
    "lion": lambda: optax.lion(1e-2),
    "adafactor": lambda: optax.adafactor(1e-2),
    "lamb": lambda: optax.lamb(1e-2),
    "muon": lambda: optax.contrib.muon(1e-2),
    "prodigy": lambda: optax.contrib.prodigy(1.0),
    "schedule-free": lambda: optax.contrib.schedule_free(optax.sgd(1e-2), 1e-2, b1=0.9),
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


def test_conditionally_transform_rescales_at_its_steps():
    params, plan = two_layers()
    tx = optax.conditionally_transform(
        swr_optax.soft_weight_rescaling(0.5, plan), lambda step: step % 2 == 1
    )
    state = tx.init(params)
    for factor in (2.0, 1.5, 2.0):  # Twice as large, and every other time half back.
        rescaled, state = jax.jit(tx.update)(params, state, params)
        np.testing.assert_allclose(
            norms_of(optax.apply_updates(params, rescaled)),
            factor * norms_of(params),
            rtol=1e-6,
        )
    assert state.inner_state.count == 1


@pytest.mark.parametrize("opaque", [False, True])
def test_sam_rescales_where_it_steps(opaque):
    params, plan = two_layers()
    inner = optax.chain(optax.sgd(1.0), swr_optax.soft_weight_rescaling(0.5, plan))
    adversary = optax.chain(optax.contrib.normalize(), optax.sgd(0.05))
    tx = optax.contrib.sam(inner, adversary, sync_period=2, opaque_mode=opaque)
    state, now = tx.init(params), params
    grads = jax.tree.map(jnp.negative, params)
    for _ in range(1 if opaque else 2):
        extra = {"grad_fn": lambda *_: grads} if opaque else {}
        moves, state = tx.update(grads, state, now, **extra)
        now = optax.apply_updates(now, moves)
    np.testing.assert_allclose(norms_of(now), 1.5 * norms_of(params), rtol=1e-5)


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


BIASES = {
    "first": {"w": "weights", "b": "biases"},
    "second": {"w": "weights", "b": "biases"},
}


@pytest.mark.parametrize("wrapper", ["masked", "partition"])
def test_masks_that_would_part_biases_from_their_weights_are_refused(wrapper):
    params, plan = two_layers()
    swr = swr_optax.soft_weight_rescaling(0.5, plan)
    if wrapper == "masked":
        mask = jax.tree.map(lambda label: label == "weights", BIASES)
        tx = optax.masked(swr, mask)
    else:
        tx = optax.partition({"weights": swr, "biases": optax.adam(1.0)}, BIASES)
    message = (
        "parameter first/b is masked out and so cannot follow first/w: chain"
        " soft_weight_rescaling behind optax.partition or optax.masked instead of"
        " inside, or plan with exclude="
    )
    with pytest.raises(ValueError, match=message):
        tx.init(params)


def test_the_last_layer_may_not_be_masked_out_from_under_the_first():
    """Its bias follows all layers in front."""
    params, plan = two_layers()
    tx = optax.masked(
        swr_optax.soft_weight_rescaling(0.5, plan), {"first": True, "second": False}
    )
    with pytest.raises(ValueError, match=r"second/b is masked out and .* first/w"):
        tx.init(params)
    still = {"feature": 0.0, "classifier": 0.5}  # The first is not scaled at all.
    tx = optax.masked(
        swr_optax.soft_weight_rescaling(still, plan), {"first": True, "second": False}
    )
    tx.init(params)


def test_what_the_plan_excludes_may_be_masked_out():
    params, _ = two_layers()
    plan = make_plan(params, exclude=lambda path: path.endswith("b"))
    mask = jax.tree.map(lambda label: label == "weights", BIASES)
    tx = optax.masked(swr_optax.soft_weight_rescaling(0.5, plan), mask)
    rescaled, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_allclose(rescaled["first"]["w"], 0.5 * params["first"]["w"], 1e-4)


def test_behind_partition_biases_follow_whatever_moves_them():
    params, plan = two_layers()
    tx = optax.chain(
        optax.partition(
            {"weights": optax.sgd(1.0), "biases": optax.sign_sgd(0.1)}, BIASES
        ),
        swr_optax.soft_weight_rescaling(0.5, plan),
    )
    grads = jax.tree.map(jnp.negative, params)
    moves, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    found = optax.apply_updates(params, moves)
    np.testing.assert_allclose(norms_of(found), 1.5 * norms_of(params), rtol=1e-6)
    bias = params["second"]["b"] + 0.1 * jnp.sign(params["second"]["b"])
    np.testing.assert_allclose(found["second"]["b"], 0.75**2 * bias, rtol=1e-5)


@pytest.mark.parametrize("kind", ["schedule", "groups"])
def test_inject_hyperparams_takes_schedules_and_groups(kind):
    params, plan = two_layers()
    schedule = optax.piecewise_constant_schedule(0.5, {1: 0.5})
    if kind == "schedule":
        tx = optax.inject_hyperparams(swr_optax.soft_weight_rescaling)(schedule, plan)
    else:

        def by_group(feature, classifier):
            coefficients = {"feature": feature, "classifier": classifier}
            return swr_optax.soft_weight_rescaling(coefficients, plan)

        tx = optax.inject_hyperparams(by_group)(schedule, 0.25)
    state = tx.init(params)
    step = jax.jit(tx.update)
    for feature in (0.5, 0.25):
        classifier = feature if kind == "schedule" else 0.25
        rescaled, state = step(params, state, params)
        np.testing.assert_allclose(
            norms_of(optax.apply_updates(params, rescaled)),
            norms_of(params) * [2 - feature, 2 - classifier],
            rtol=1e-6,
        )


def test_schedule_free_bounds_its_iterates_only_around_swr():
    """Behind it, SWR holds the point of the gradients while the iterates grow."""
    params, plan = two_layers()
    contrib = optax.contrib
    swr = swr_optax.soft_weight_rescaling(0.05, plan)
    inside = contrib.schedule_free(
        optax.chain(optax.adam(0.01, b1=0.0), swr), 0.01, b1=0.9
    )
    behind = optax.chain(contrib.schedule_free_adamw(0.01), swr)

    def growth(tx, state_of):
        def step(_, carry):
            params, state = carry
            outward = jax.tree.map(jnp.negative, params)
            updates, state = tx.update(outward, state, params)
            return optax.apply_updates(params, updates), state

        found, state = jax.jit(lambda carry: jax.lax.fori_loop(0, 1000, step, carry))(
            (params, tx.init(params))
        )
        own = state_of(state)
        averaged = contrib.schedule_free_eval_params(own, found)
        return [norms_of(x) / norms_of(params) for x in (found, own.z, averaged)]

    for grown in growth(inside, lambda state: state):
        assert (grown < 1.5).all()
        assert (grown > 1.1).all()
    held, iterates, _ = growth(behind, lambda state: state[0])
    assert (held < 1.5).all()
    assert (iterates > 5).all()


PARTS = {
    "the head": (lambda tx, head: optax.masked(tx, head), True),
    "all but the frozen": (
        lambda tx, head: optax.transforms.selective_transform(
            tx, freeze_mask=jax.tree.map(lambda is_head: not is_head, head)
        ),
        True,
    ),
    "the body": (
        lambda tx, head: optax.masked(
            tx, jax.tree.map(lambda is_head: not is_head, head)
        ),
        False,
    ),
    "both, each for itself": (
        lambda tx, head: optax.partition(
            {True: tx, False: optax.chain(tx)}, lambda _: head
        ),
        False,
    ),
}


@pytest.mark.parametrize("parts", PARTS)
def test_inside_masks_the_function_is_kept_or_the_mask_refused(parts):
    params, plan = two_layers()
    wrap, kept = PARTS[parts]
    head = {"first": False, "second": True}
    tx = wrap(swr_optax.soft_weight_rescaling(0.5, plan), head)
    if not kept:
        with pytest.raises(ValueError, match="is masked out and so cannot follow"):
            tx.init(params)
        return
    moves = randomly(params)
    if parts == "all but the frozen":  # Which gets no updates.
        moves["first"] = jax.tree.map(jnp.zeros_like, moves["first"])
    updates, _ = tx.update(moves, tx.init(params), params)
    x = jax.random.normal(jax.random.key(3), (8, 5))
    old, new = (
        forward(optax.apply_updates(params, change), x) for change in (moves, updates)
    )
    assert swr_optax.metrics.proportionality_error(old, new) < 1e-6

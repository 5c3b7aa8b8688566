"""The real loop's functions against loops written out by hand."""

import dataclasses

import chex
from hypothesis import given, settings, strategies as st
import jax
from jax._src import test_util as jtu
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.methods import METHODS, Setting
from experiments.models import MODELS
from experiments.protocols.stage_loop import drop_steps, on_device, stage_training
from experiments.training.lanes import Member, shuffled, stacked
from experiments.training.step import TrainState
from real_loops import configured, digits
from swr_optax import metrics


@given(
    images=st.integers(1, 50),
    batch=st.integers(1, 20),
    spare=st.integers(0, 3),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_an_order_has_every_image_once_and_gaps_last(images, batch, spare, seed):
    chosen = np.arange(images) * 3
    steps = -(-images // batch) + spare
    order = shuffled(chosen, batch, steps, (seed, 1)).ravel()
    assert order.shape == (steps * batch,)
    assert sorted(order[:images]) == list(chosen)
    assert (order[images:] == -1).all()
    again = shuffled(chosen, batch, steps, (seed, 1)).ravel()
    np.testing.assert_array_equal(order, again)


@pytest.mark.parametrize(
    ("epochs", "images", "expected"),
    [
        (200, 60000, (100 * 235, 150 * 235)),  # The paper's on MNIST.
        (20, 1437, (60, 90)),
        (3, 512, (3, 4)),  # Two drops, though both are in the second epoch.
        (1, 1024, (2, 3)),
    ],
)
def test_the_rate_drops_at_half_and_three_quarters(epochs, images, expected):
    config = configured(protocol="single-task-decay", epochs=epochs)
    assert drop_steps(config, images) == expected
    assert drop_steps(configured(protocol="single-task", epochs=epochs), images) == ()


def orders(seeds, dataset, epoch=1, batch=128):
    everything = np.arange(len(dataset.train_labels))
    steps = -(-len(everything) // batch)
    return np.stack([shuffled(everything, batch, steps, (s, epoch)) for s in seeds])


def member(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def run(training, dataset, state, members, order):
    """The state after an order's steps, and the mean loss of each member."""
    state, sums = training.run(state, stacked(members), on_device(dataset)[0], order)
    return state, sums["loss"] / (order >= 0).sum(axis=(1, 2))


def evaluated(training, dataset, state, initial):
    """Accuracy on the test images, and what is observed on some of them."""
    _, test = on_device(dataset)
    return {
        "accuracy": training.accuracy(state, test),
        **training.observe(state, initial, test.inputs[:500]),
    }


def enlarged(model, **fields):
    """A configuration and data with 16×16 pixels, so that the CNNs fit."""
    config = configured(dataset="mnist", model=model, batch_size=128, **fields)
    return config, digits(300, 16)


def test_an_epoch_is_a_plain_loop_over_batches():
    """Also the last, smaller batch, of 44 images, and BatchNorm's statistics."""
    config, dataset = enlarged("cnn_bn", methods=("swr",))
    training = stage_training(config, dataset, "swr")
    members = [Member(7, 0.3, 1e-3)]
    state = training.initialize(members)
    one = member(state, 0)
    order = orders([7], dataset)
    state, loss = run(training, dataset, state, members, order)

    net = MODELS["cnn_bn"].build(10)
    decay = optax.constant_schedule(1.0)
    setting = Setting(
        coefficient=0.3,
        learning_rate=1e-3,
        seed=7,
        plan=training.plan,
        function_plan=lambda: training.plan,
        kept_plan=lambda: training.plan,
        init=net.init,
        decay=decay,
        drops=(),
    )
    adam = optax.adam(optax.constant_schedule(1e-3))
    tx = METHODS["swr"].optimizer(adam, setting)
    params, stats, opt_state = one
    pixels = np.float32(dataset.train_images / 16 - 0.3053) / np.float32(0.3760)
    losses = []

    @jax.jit
    def gradient(params, stats, images, labels):
        def mean_loss(params):
            logits, updated = net.apply(
                {"params": params, "batch_stats": stats},
                images,
                train=True,
                mutable=["batch_stats"],
            )
            each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return each.mean(), (updated.get("batch_stats", {}), each)

        return jax.grad(mean_loss, has_aux=True)(params)

    for start in range(0, 300, 128):
        rows = order[0].ravel()[start : min(start + 128, 300)]
        grads, (stats, each) = gradient(
            params, stats, pixels[rows], dataset.train_labels[rows]
        )
        losses += list(each)
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        stats = METHODS["swr"].statistics(stats, opt_state, setting)
    np.testing.assert_allclose(loss, [np.mean(losses)], rtol=1e-5)
    found = member(state, 0)
    # Adam's steps are of the rate's size, 1e-3, however small a gradient is.
    chex.assert_trees_all_close(found.params, params, rtol=1e-3, atol=3e-4)
    chex.assert_trees_all_close(
        found[1:], TrainState(params, stats, opt_state)[1:], rtol=1e-3, atol=2e-4
    )
    assert state.opt_state[0][0].count[0] == 3


def test_convolutions_in_a_loop_and_outside_are_the_same():
    """On a CPU they step outside, on an accelerator inside."""
    config, dataset = enlarged("cnn_bn", methods=("swr_two",))
    members = config.members("swr_two")

    def trained(training):
        state = training.initialize(members)
        return run(training, dataset, state, members, orders([0], dataset))

    training = stage_training(config, dataset, "swr_two")
    outside, loss = trained(training)
    inside = dataclasses.replace(training.network, convolutional=False)
    state, loss_inside = trained(dataclasses.replace(training, network=inside))
    np.testing.assert_allclose(loss_inside, loss, rtol=1e-5)
    chex.assert_trees_all_close(state.params, outside.params, rtol=1e-3, atol=3e-4)
    chex.assert_trees_all_close(state[1:], outside[1:], rtol=1e-3, atol=2e-4)


def test_a_lane_of_many_is_as_each_alone():
    """Seeds and coefficients that differ; in three epochs and a change of data."""
    dataset = digits(600)
    config = configured(methods=("swr_two",))
    training = stage_training(config, dataset, "swr_two")
    values = [
        {"feature": feature, "classifier": classifier}
        for feature, classifier in ((0.3, 0.0), (0.01, 1.0), (0.0, 0.3))
    ]
    members = [Member(seed, value, 1e-3) for seed, value in enumerate(values)]

    def trained(members):
        seeds = [member.seed for member in members]
        state = training.initialize(members)
        initial = jax.tree.map(jnp.copy, state.params)
        for epoch in range(3):
            order = orders(seeds, dataset, epoch)
            state, losses = run(training, dataset, state, members, order)
        data, _ = on_device(dataset)
        state = training.change_data(state, initial, stacked(members), data, order)
        return state, losses, evaluated(training, dataset, state, initial)

    together, losses, seen = trained(members)
    alike, *_ = trained([Member(seed, values[0], 1e-3) for seed in range(len(values))])
    for i, one in enumerate(members):
        alone, loss, seen_alone = trained([one])
        np.testing.assert_allclose(losses[i], loss[0], rtol=1e-4)
        chex.assert_trees_all_close(
            member(together.params, i), member(alone.params, 0), rtol=1e-3, atol=3e-4
        )
        np.testing.assert_allclose(
            seen["growth"][i], seen_alone["growth"][0], rtol=1e-4
        )
        np.testing.assert_allclose(
            seen["accuracy"][i], seen_alone["accuracy"][0], atol=0.003
        )
        if i:  # Each has a coefficient of its own.
            growth = metrics.weight_growth(
                member(together.params, i), member(alike.params, i), training.plan
            )
            assert np.abs(growth - 1).max() > 1e-3


@pytest.mark.parametrize("method", ["swr", "l2", "l2_init", "shrink_and_perturb"])
def test_another_coefficient_or_fewer_images_compile_nothing(method):
    dataset = digits(600)
    training = stage_training(configured(methods=(method,)), dataset, method)
    few = np.full((1, 5, 128), -1, np.int32)
    few[0, :2, :100] = np.arange(200).reshape(2, 100)

    def trained(value, order, rate=1e-3):
        members = [Member(0, value, rate)]
        state = training.initialize(members)
        initial = jax.tree.map(jnp.copy, state.params)
        state, _ = run(training, dataset, state, members, order)
        data, _ = on_device(dataset)
        state = training.change_data(state, initial, stacked(members), data, order)
        return state, evaluated(training, dataset, state, initial)["growth"]

    first, growth = trained(0.5, few)
    with jtu.count_jit_and_pmap_lowerings() as lowerings:
        _, other_growth = trained(0.1, few)
        second, _ = trained(0.1, orders([0], dataset, 1), rate=3e-3)
    assert lowerings() == 0
    assert (growth != other_growth).any()

    def steps(state):
        return int(optax.tree.get(state.opt_state, "count", filtering=_of_adam)[0])

    assert (steps(first), steps(second)) == (2, 5)


def _of_adam(path, _):
    return "ScaleByAdamState" in str(path)


def test_evaluation_is_in_evaluation_mode_on_the_test_set():
    config, dataset = enlarged("cnn_bn", methods=("vanilla",))
    training = stage_training(config, dataset, "vanilla")
    members = config.members("vanilla")
    state = training.initialize(members)
    start = jax.tree.map(jnp.copy, state.params)
    for epoch in range(2):
        order = orders([0], dataset, epoch)
        state, _ = run(training, dataset, state, members, order)
    seen = evaluated(training, dataset, state, start)
    params, stats, _ = member(state, 0)
    pixels = np.float32(dataset.test_images / 16 - 0.3053) / np.float32(0.3760)
    logits, hidden = (
        MODELS["cnn_bn"]
        .build(10)
        .apply(
            {"params": params, "batch_stats": stats},
            pixels,
            mutable=["activations", "features"],
        )
    )
    expected = (np.argmax(logits, -1) == dataset.test_labels).mean()
    np.testing.assert_allclose(seen["accuracy"], [expected], atol=0.003)
    layers = [np.asarray(x) for x in jax.tree.leaves(hidden["activations"])]
    assert [x.shape[-1] for x in layers] == [16, 16, 100]
    dead = np.concatenate([x.reshape(-1, x.shape[-1]).max(axis=0) == 0 for x in layers])
    np.testing.assert_allclose(seen["dead_units"], [dead.mean()], atol=0.008)
    weights = [
        *("Conv_0/kernel", "BatchNorm_0/scale", "Conv_1/kernel", "BatchNorm_1/scale"),
        *("Dense_0/kernel", "Dense_1/kernel"),
    ]
    assert [layer.name for layer in training.plan.layers] == weights
    ratios = [
        np.linalg.norm(params[module][name]) / np.linalg.norm(start[module][name][0])
        for module, name in (path.split("/") for path in weights)
    ]
    np.testing.assert_allclose(seen["growth"], [ratios], rtol=1e-5)

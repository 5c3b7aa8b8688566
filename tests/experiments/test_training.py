"""The real loop against loops written out by hand."""

import dataclasses

import chex
from hypothesis import given, settings, strategies as st
import jax
from jax._src import test_util as jtu
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.config import Config
from experiments.datasets import Dataset, load_dataset
from experiments.methods import METHODS
from experiments.models import MODELS
from experiments.training import TrainState, make_training, shuffled
from swr_optax import metrics


@given(
    members=st.integers(1, 50),
    batch=st.integers(1, 20),
    spare=st.integers(0, 3),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_an_order_has_every_image_once_and_gaps_last(members, batch, spare, seed):
    chosen = np.arange(members) * 3
    steps = -(-members // batch) + spare
    order = shuffled(chosen, batch, steps, (seed, 1)).ravel()
    assert order.shape == (steps * batch,)
    assert sorted(order[:members]) == list(chosen)
    assert (order[members:] == -1).all()
    again = shuffled(chosen, batch, steps, (seed, 1)).ravel()
    np.testing.assert_array_equal(order, again)


def enlarged(count=300):
    """Some digits with 16×16 pixels, so that the CNNs fit."""
    digits = load_dataset("digits")

    def double(images):
        return images.repeat(2, axis=1).repeat(2, axis=2)

    return Dataset(
        digits.source,
        double(digits.train_images[:count]),
        digits.train_labels[:count],
        double(digits.test_images),
        digits.test_labels,
    )


def orders(seeds, dataset, epoch=1, batch=128):
    everything = np.arange(len(dataset.train_labels))
    steps = -(-len(everything) // batch)
    return np.stack([shuffled(everything, batch, steps, (s, epoch)) for s in seeds])


@pytest.mark.parametrize("model", ["mlp", "cnn_bn"])
def test_an_epoch_is_a_plain_loop_over_batches(model, monkeypatch):
    """Also the last, smaller batch, of 44 images, and BatchNorm's statistics."""
    strong = dataclasses.replace(METHODS["swr"], coefficients={"mnist": 0.3})
    monkeypatch.setitem(METHODS, "swr", strong)
    dataset = enlarged()
    config = Config(dataset="mnist", model=model, batch_size=128)
    training = make_training(config, dataset, "swr")
    state = training.initialize([7])
    one = jax.tree.map(lambda leaf: leaf[0], state)
    order = orders([7], dataset)
    state, loss = training.run_epoch(state, order)

    net = MODELS[model].build(10)
    tx = METHODS["swr"].optimizer(optax.adam(1e-3), 0.3, training.plan)
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
        if stats:
            stats = METHODS["swr"].statistics(stats, opt_state, training.plan)
    np.testing.assert_allclose(loss, [np.mean(losses)], rtol=1e-5)
    chex.assert_trees_all_close(
        jax.tree.map(lambda leaf: leaf[0], state),
        TrainState(params, stats, opt_state),
        rtol=1e-3,
        atol=2e-5,
    )
    assert state.opt_state[0][0].count[0] == 3


def test_a_seed_is_the_same_alone_and_in_company():
    dataset = load_dataset("digits")
    config = Config(batch_size=128)
    training = make_training(config, dataset, "swr")
    together = training.initialize([0, 1, 2])
    alone = training.initialize([1])
    start = jax.tree.map(jnp.copy, alone.params)
    chex.assert_trees_all_equal(
        jax.tree.map(lambda leaf: leaf[1:2], together.params), alone.params
    )
    for epoch in range(3):
        together, losses = training.run_epoch(
            together, orders([0, 1, 2], dataset, epoch)
        )
        alone, loss = training.run_epoch(alone, orders([1], dataset, epoch))
        np.testing.assert_allclose(losses[1], loss[0], rtol=1e-5)
    chex.assert_trees_all_close(
        jax.tree.map(lambda leaf: leaf[1:2], together.params),
        alone.params,
        rtol=1e-3,
        atol=1e-5,
    )
    accuracies, growths = training.evaluate(
        jax.tree.map(lambda leaf: leaf[1:2], together), start
    )
    accuracy, growth = training.evaluate(alone, start)
    np.testing.assert_allclose(accuracies, accuracy, atol=0.003)
    np.testing.assert_allclose(growths, growth, rtol=1e-5)


def test_evaluation_is_in_evaluation_mode_on_the_test_set():
    dataset = enlarged()
    training = make_training(Config(dataset="mnist", model="cnn_bn"), dataset, "swr")
    state = training.initialize([0])
    start = jax.tree.map(jnp.copy, state.params)
    for epoch in range(2):
        state, _ = training.run_epoch(state, orders([0], dataset, epoch, 256))
    accuracy, growth = training.evaluate(state, start)
    params, stats, _ = jax.tree.map(lambda leaf: leaf[0], state)
    pixels = np.float32(dataset.test_images / 16 - 0.3053) / np.float32(0.3760)
    logits = (
        MODELS["cnn_bn"]
        .build(10)
        .apply({"params": params, "batch_stats": stats}, pixels)
    )
    expected = (np.argmax(logits, -1) == dataset.test_labels).mean()
    np.testing.assert_allclose(accuracy, [expected], atol=0.003)
    ratios = metrics.weight_growth(
        params, jax.tree.map(lambda leaf: leaf[0], start), training.plan
    )
    np.testing.assert_allclose(growth, [ratios.mean()], rtol=1e-5)


def test_an_epoch_on_fewer_images_does_not_compile_again():
    dataset = load_dataset("digits")
    training = make_training(Config(), dataset, "vanilla")
    state = training.initialize([0])
    few = np.full((1, 6, 256), -1, np.int32)
    few[0, 0, :100] = np.arange(100)
    state, _ = training.run_epoch(state, few)
    with jtu.count_jit_and_pmap_lowerings() as lowerings:
        state, _ = training.run_epoch(state, orders([0], dataset, 1, 256))
    assert lowerings() == 0
    assert state.opt_state[0].count[0] == 7

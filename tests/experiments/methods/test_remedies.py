"""The library's remedies as the experiments chain them, in the real loop."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.methods import METHODS
from experiments.protocols.stream_loop import stream_training
from experiments.training import checkpoint
from experiments.training.lanes import stacked
from experiments.training.training import Data
from real_loops import digits, numbers, run, stream
import swr_optax

REMEDIES = (
    *("swr_function", "swr_directions", "weight_clipping", "project_norms"),
    *("spectral", "wasserstein_l2", "shrink_and_perturb_steps", "hare_and_tortoise"),
    *("upgd", "orthogonal_decay", "fire", "dash", "redo", "continual_backprop"),
    "self_normalized_resets",
)


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """The last record of each method after two short tasks."""
    methods = ("vanilla", *REMEDIES)
    config = stream(
        "random-labels",
        methods=methods,
        coefficients={"weight_clipping": 0.5},
        tasks=2,
        epochs=2,
    )
    records = run(config, digits(), tmp_path_factory.mktemp("run"))
    return {record.method: record for record in records if record.task == 2}


@pytest.mark.parametrize("name", REMEDIES)
def test_each_trains_and_does_something(name, ends):
    found, plain = ends[name], ends["vanilla"]
    values = [found.train_loss, found.gradient_norm, found.weight_growth]
    assert np.isfinite(values).all()
    waiting = ("redo", "continual_backprop", "self_normalized_resets")
    if name not in (*waiting, "hare_and_tortoise"):
        # Those wait for a hundred or a thousand steps before they act.
        assert found.growth != plain.growth


def trained(name, steps=3):
    """A method's training of a few steps, and its state before and after."""
    config = stream("random-labels", methods=(name,))
    training = stream_training(config, digits(), name)
    members = config.members(name)
    state = training.initialize(members)
    before = jax.tree.map(jnp.copy, state)
    data = jax.tree.map(
        lambda array: jnp.asarray(array)[None],
        Data(digits().train_images[:32], digits().train_labels[:32]),
    )
    order = np.arange(16 * steps).reshape(1, steps, 16) % 32
    after, _ = training.run(state, stacked(members), data, order)
    return training, before, after, data


def test_the_tortoise_is_what_is_evaluated():
    training, _, state, data = trained("hare_and_tortoise")
    slow = state._replace(params=swr_optax.tortoise_params(state.opt_state))
    plain = stream_training(
        stream("random-labels", methods=("vanilla",)), digits(), "vanilla"
    )
    np.testing.assert_array_equal(
        training.accuracy(state, data), plain.accuracy(slow, data)
    )
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(slow.params, state.params)


def test_activations_come_from_the_pass_that_trains():
    """With them the gradient is to rounding what it is without."""
    observed = trained("redo")[2]
    plain = trained("vanilla")[2]
    chex.assert_trees_all_close(observed.params, plain.params, rtol=1e-3, atol=1e-5)


def test_dash_shrinks_by_the_gradient_of_the_new_task():
    training, state, _, data = trained("dash")
    config = stream("random-labels", methods=("dash",))
    members = stacked(config.members("dash"))
    order = np.arange(32).reshape(1, 2, 16)
    found = training.change_data(
        jax.tree.map(jnp.copy, state), state.params, members, data, order
    )
    descent = jax.tree.map(jnp.zeros_like, state.params)
    for rows in order[0]:
        images = digits().normalize(data.inputs[0, rows])

        def loss(params, images=images, rows=rows):
            logits = training.network.predict(params, {}, images)
            return optax.softmax_cross_entropy_with_integer_labels(
                logits, data.targets[0, rows]
            ).mean()

        params = jax.tree.map(lambda leaf: leaf[0], state.params)
        grads = jax.tree.map(lambda leaf: leaf[None], jax.grad(loss)(params))
        descent = swr_optax.accumulate_descent(descent, grads)
    one = jax.tree.map(lambda leaf: leaf[0], (state.params, descent))
    expected = swr_optax.dash(*one, training.plan, smallest=METHODS["dash"].default)
    after = jax.tree.map(lambda leaf: leaf[0], found.params)
    chex.assert_trees_all_close(after, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["shrink_and_perturb_steps", "redo"])
def test_random_keys_survive_an_interruption(name, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", -1.0)
    config = stream("random-labels", methods=(name,), tasks=2, epochs=1)
    whole = run(config, digits(), tmp_path / "whole")

    def stopped(_):
        raise KeyboardInterrupt

    ticks = iter([lambda _: None, stopped])
    with pytest.raises(KeyboardInterrupt):
        run(config, digits(), tmp_path / "part", lambda seen: next(ticks)(seen))
    resumed = run(config, digits(), tmp_path / "part")
    assert numbers(resumed) == numbers(whole)


def test_a_falling_rate_is_followed_by_lambda(tmp_path):
    """Until it falls λ that follows is λ, and then it is a tenth, and a hundredth."""
    config = stream(
        "random-labels", methods=("swr", "swr_follow"), tasks=4, epochs=1, decay=True
    )
    records = run(config, digits(), tmp_path)
    by_task = {(r.method, r.task): r.growth for r in records}
    for task in (1, 2):
        assert by_task["swr", task] == by_task["swr_follow", task]
    for task in (3, 4):
        assert by_task["swr", task] != by_task["swr_follow", task]

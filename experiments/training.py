"""The training loop: one jitted epoch on data that stay on the device.

A *lane* is a group of seeds that run together, along a leading axis of the
state.  On an accelerator all seeds share one lane; on a CPU, where that does not
pay, each has its own, so that a seed's numbers are the same alone or in company.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.config import Config
from experiments.datasets import Dataset
from experiments.methods import METHODS
from experiments.models import MODELS
import swr_optax
from swr_optax import RescalingPlan, metrics

EVALUATION_BATCH = 2500
"""Test images that are classified at once."""


class TrainState(NamedTuple):
    """What training changes; each leaf has a leading axis of seeds.

    Attributes:
        params: parameters.
        stats: running statistics; empty for a network without BatchNorm.
        opt_state: the optimiser's state.
    """

    params: Any
    stats: Any
    opt_state: Any


@dataclasses.dataclass(frozen=True)
class Training:
    """Functions that train one method on one data set.

    Attributes:
        plan: of the network.
        initialize: seeds → state.
        run_epoch: (state, order of the images) → (state, mean loss of each seed).
        evaluate: (state, initial parameters) → (test accuracy, weight growth) of
            each seed; growth is the mean over layers of the norm over its
            initial value.
        change_data: (parameters, initial parameters) → parameters.
    """

    plan: RescalingPlan
    initialize: Callable[[Sequence[int]], TrainState]
    run_epoch: Callable[[TrainState, np.ndarray], tuple[TrainState, jax.Array]]
    evaluate: Callable[[TrainState, Any], tuple[np.ndarray, np.ndarray]]
    change_data: Callable[[Any, Any], Any]


def lanes(seeds: int) -> list[tuple[int, ...]]:
    """The seeds that run together on this machine."""
    if jax.default_backend() == "cpu":
        return [(seed,) for seed in range(seeds)]
    return [tuple(range(seeds))]


def shuffled(
    members: np.ndarray, batch_size: int, steps: int, entropy: Sequence[int]
) -> np.ndarray:
    """A random order of some images, in batches.

    Args:
        members: indices of the images.
        batch_size: images in a batch; the last may have fewer.
        steps: number of batches of the result, at least as many as needed.
        entropy: numbers that determine the order.

    Returns:
        Indices, int32, (steps, batch_size); -1 where there is no image.
    """
    order = np.full(steps * batch_size, -1, np.int32)
    order[: len(members)] = np.random.default_rng(entropy).permutation(members)
    return order.reshape(steps, batch_size)


def make_training(config: Config, dataset: Dataset, method_name: str) -> Training:
    """Builds the functions that train a method."""
    method = METHODS[method_name]
    coefficient = config.coefficient(method_name) or 0.0
    model = MODELS[config.model].build(dataset.source.classes)
    images, labels = (
        jnp.asarray(dataset.train_images),
        jnp.asarray(dataset.train_labels),
    )
    sample = jax.ShapeDtypeStruct((config.batch_size, *images.shape[1:]), jnp.float32)

    def init_variables(key: jax.Array) -> tuple[Any, Any]:
        variables = model.init(key, jnp.zeros(sample.shape))
        return variables["params"], variables.get("batch_stats", {})

    def forward(
        params: Any, stats: Any, x: jax.Array, present: jax.Array
    ) -> tuple[jax.Array, Any]:
        logits, updated = model.apply(
            {"params": params, "batch_stats": stats},
            x,
            train=True,
            present=present,
            mutable=["batch_stats"],
        )
        return logits, updated.get("batch_stats", {})

    params, stats = jax.eval_shape(init_variables, jax.random.key(0))
    present = jax.ShapeDtypeStruct(sample.shape[:1], jnp.bool)
    plan = swr_optax.plan_rescaling(forward, params, sample, present, stats=stats)
    tx = method.optimizer(optax.adam(config.learning_rate), coefficient, plan)

    def step(
        state: TrainState, rows: jax.Array, images: jax.Array, labels: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        """One step; the summed loss of its images."""
        present = rows >= 0

        def loss(params: Any) -> tuple[jax.Array, tuple[Any, jax.Array]]:
            logits, stats = forward(
                params, state.stats, dataset.normalize(images[rows]), present
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(
                logits, labels[rows]
            )
            total = jnp.sum(losses, where=present)
            return total / present.sum(), (stats, total)

        grads, (stats, total) = jax.grad(loss, has_aux=True)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        if stats:
            stats = method.statistics(stats, opt_state, plan)
        return TrainState(params, stats, opt_state), total

    def epoch(
        state: TrainState,
        order: jax.Array,
        steps: jax.Array,
        images: jax.Array,
        labels: jax.Array,
    ) -> tuple[TrainState, jax.Array]:
        def body(
            i: jax.Array, carry: tuple[TrainState, jax.Array]
        ) -> tuple[TrainState, jax.Array]:
            state, total = carry
            state, more = step(state, order[i], images, labels)
            return state, total + more

        return jax.lax.fori_loop(0, steps, body, (state, jnp.float32(0)))

    jit = functools.partial(jax.jit, donate_argnums=0)
    step_lane = jit(jax.vmap(step, in_axes=(0, 0, None, None)))
    epoch_lane = jit(jax.vmap(epoch, in_axes=(0, 0, None, None, None)))

    def run_epoch(state: TrainState, order: np.ndarray) -> tuple[TrainState, jax.Array]:
        examples = (order >= 0).sum(axis=(1, 2))
        steps = int((order[0] >= 0).any(axis=1).sum())
        if jax.default_backend() == "cpu" and MODELS[config.model].convolutional:
            total = jnp.zeros(len(order))
            for i in range(steps):
                state, more = step_lane(state, order[:, i], images, labels)
                total += more
        else:
            state, total = epoch_lane(state, order, steps, images, labels)
        return state, total / examples

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None, None))
    def count_correct(
        state: TrainState, images: jax.Array, labels: jax.Array
    ) -> jax.Array:
        variables = {"params": state.params, "batch_stats": state.stats}
        logits: Any = model.apply(variables, dataset.normalize(images))
        return jnp.sum(jnp.argmax(logits, -1) == labels)

    @jax.jit
    @jax.vmap
    def growth(params: Any, initial: Any) -> jax.Array:
        return metrics.weight_growth(params, initial, plan).mean()

    test = [
        (jnp.asarray(dataset.test_images[part]), jnp.asarray(dataset.test_labels[part]))
        for start in range(0, len(dataset.test_labels), EVALUATION_BATCH)
        for part in [slice(start, start + EVALUATION_BATCH)]
    ]

    def evaluate(state: TrainState, initial: Any) -> tuple[np.ndarray, np.ndarray]:
        correct = sum(count_correct(state, *part) for part in test)
        accuracy = np.asarray(correct) / len(dataset.test_labels)
        return accuracy, np.asarray(growth(state.params, initial))

    @jax.jit
    @jax.vmap
    def initialize(keys: jax.Array) -> TrainState:
        params, stats = init_variables(keys)
        return TrainState(params, stats, tx.init(params))

    @jax.jit
    @jax.vmap
    def change_data(params: Any, initial: Any) -> Any:
        return method.at_change(params, initial, coefficient, plan)

    return Training(
        plan=plan,
        initialize=lambda seeds: initialize(
            jnp.stack([jax.random.key(seed) for seed in seeds])
        ),
        run_epoch=run_epoch,
        evaluate=evaluate,
        change_data=change_data,
    )

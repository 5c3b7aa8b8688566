"""The training loop: one jitted epoch on data that stay on the device.

A *lane* is a group of runs that go together, along a leading axis of the state.
On an accelerator all seeds and coefficients of a method share one lane; on a CPU,
where that does not pay, each has its own, so that a seed's numbers are the same
alone or in company.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.data import Dataset
from experiments.methods import METHODS, Setting
from experiments.methods.coefficients import Coefficient
from experiments.models import MODELS
from experiments.protocols.config import Config
from experiments.protocols.records import OBSERVED
from experiments.protocols.stages import PROTOCOLS
from experiments.training.cpu import compiler_options
import swr_optax
from swr_optax import RescalingPlan, metrics

EVALUATION_BATCH = 500
"""Test images that are classified at once."""


class Member(NamedTuple):
    """One run of a lane.

    Attributes:
        seed: from 0.
        coefficient: its method's λ; zero if that has none.
    """

    seed: int
    coefficient: Coefficient


class TrainState(NamedTuple):
    """What training changes; each leaf has a leading axis of a lane's members.

    Attributes:
        params: parameters.
        stats: running statistics; empty for a network without BatchNorm.
        opt_state: the optimiser's state.
    """

    params: Any
    stats: Any
    opt_state: Any


class Evaluation(NamedTuple):
    """What is measured of each member; arrays with a leading axis of them.

    Attributes:
        accuracy: fraction of test images classified correctly.
        growth: each weight's norm over its initial one, (members, layers).
        dead_units: fraction of ReLU units that are never active; None without.
        effective_rank: of what the last layer classifies.
        balancedness: of the chain of layers; None if not asked for.
    """

    accuracy: np.ndarray
    growth: np.ndarray
    dead_units: np.ndarray | None
    effective_rank: np.ndarray
    balancedness: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Training:
    """Functions that train one method on one data set.

    Attributes:
        plan: of the network.
        initialize: seeds → state.
        run_epoch: (state, coefficients, order of the images) → (state, mean loss of
            each member).
        evaluate: (state, initial parameters) → what is measured.
        accuracy: state → test accuracy of each member.
        change_data: (parameters, initial parameters, coefficients) → parameters.
    """

    plan: RescalingPlan
    initialize: Callable[[Sequence[int]], TrainState]
    run_epoch: Callable[[TrainState, Any, np.ndarray], tuple[TrainState, jax.Array]]
    evaluate: Callable[[TrainState, Any], Evaluation]
    accuracy: Callable[[TrainState], np.ndarray]
    change_data: Callable[[Any, Any, Any], Any]


def members_of(config: Config, method: str) -> list[Member]:
    """A method's runs: each seed with the configured coefficient."""
    coefficient = config.coefficient(method) or 0.0
    return [Member(seed, coefficient) for seed in range(config.seeds)]


def lanes(members: Sequence[Member]) -> list[tuple[Member, ...]]:
    """The runs that go together on this machine."""
    if jax.default_backend() == "cpu":
        return [(member,) for member in members]
    return [tuple(members)]


def stacked_coefficients(members: Sequence[Member]) -> Any:
    """Coefficients of a lane's members along a leading axis."""
    each = [
        dict(member.coefficient)
        if isinstance(member.coefficient, Mapping)
        else member.coefficient
        for member in members
    ]
    return jax.tree.map(lambda *values: jnp.asarray(values, jnp.float32), *each)


def shuffled(
    images: np.ndarray, batch_size: int, steps: int, entropy: Sequence[int]
) -> np.ndarray:
    """A random order of some images, in batches.

    Args:
        images: indices of the images.
        batch_size: images in a batch; the last may have fewer.
        steps: number of batches of the result, at least as many as needed.
        entropy: numbers that determine the order.

    Returns:
        Indices, int32, (steps, batch_size); -1 where there is no image.
    """
    order = np.full(steps * batch_size, -1, np.int32)
    order[: len(images)] = np.random.default_rng(entropy).permutation(images)
    return order.reshape(steps, batch_size)


def drop_steps(config: Config, images: int) -> tuple[int, ...]:
    """The steps at which the learning rate falls."""
    steps = config.epochs * -(-images // config.batch_size)
    return tuple(int(drop * steps) for drop in PROTOCOLS[config.protocol].drops)


def make_training(config: Config, dataset: Dataset, method_name: str) -> Training:
    """Builds the functions that train a method."""
    method = METHODS[method_name]
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
    drops = drop_steps(config, len(labels))
    decay = optax.piecewise_constant_schedule(1.0, dict.fromkeys(drops, 0.1))
    adam = optax.adam(lambda step: config.learning_rate * decay(step))

    def setting(coefficient: Any) -> Setting:
        return Setting(coefficient, plan, decay, drops)

    def step(
        state: TrainState,
        coefficient: Any,
        rows: jax.Array,
        images: jax.Array,
        labels: jax.Array,
    ) -> tuple[TrainState, jax.Array]:
        """One step; the summed loss of its images."""
        present = rows >= 0
        tx = method.optimizer(adam, setting(coefficient))

        def loss(params: Any) -> tuple[jax.Array, tuple[Any, jax.Array]]:
            logits, stats = forward(
                params, state.stats, dataset.normalize(images[rows]), present
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(
                logits, labels[rows]
            )
            total = jnp.sum(losses, where=present)
            penalty = method.penalty(params, setting(coefficient))
            return total / present.sum() + penalty, (stats, total)

        grads, (stats, total) = jax.grad(loss, has_aux=True)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        if stats:
            stats = method.statistics(stats, opt_state, setting(coefficient))
        return TrainState(params, stats, opt_state), total

    def epoch(
        state: TrainState,
        coefficient: Any,
        order: jax.Array,
        steps: jax.Array,
        images: jax.Array,
        labels: jax.Array,
    ) -> tuple[TrainState, jax.Array]:
        def body(
            i: jax.Array, carry: tuple[TrainState, jax.Array]
        ) -> tuple[TrainState, jax.Array]:
            state, total = carry
            state, more = step(state, coefficient, order[i], images, labels)
            return state, total + more

        return jax.lax.fori_loop(0, steps, body, (state, jnp.float32(0)))

    jit = functools.partial(jax.jit, compiler_options=compiler_options())
    step_lane = jit(jax.vmap(step, in_axes=(0, 0, 0, None, None)), donate_argnums=0)
    epoch_lane = jit(
        jax.vmap(epoch, in_axes=(0, 0, 0, None, None, None)), donate_argnums=0
    )

    def run_epoch(
        state: TrainState, coefficients: Any, order: np.ndarray
    ) -> tuple[TrainState, jax.Array]:
        examples = (order >= 0).sum(axis=(1, 2))
        steps = int((order[0] >= 0).any(axis=1).sum())
        if jax.default_backend() == "cpu" and MODELS[config.model].convolutional:
            total = jnp.zeros(len(order))
            for i in range(steps):
                state, more = step_lane(
                    state, coefficients, order[:, i], images, labels
                )
                total += more
        else:
            state, total = epoch_lane(state, coefficients, order, steps, images, labels)
        return state, total / examples

    @jit
    @functools.partial(jax.vmap, in_axes=(0, None, None))
    def count_correct(
        state: TrainState, images: jax.Array, labels: jax.Array
    ) -> jax.Array:
        variables = {"params": state.params, "batch_stats": state.stats}
        logits: Any = model.apply(variables, dataset.normalize(images))
        return jnp.sum(jnp.argmax(logits, -1) == labels)

    @jit
    @functools.partial(jax.vmap, in_axes=(0, 0, None))
    def observe(state: TrainState, initial: Any, images: jax.Array) -> dict[str, Any]:
        variables = {"params": state.params, "batch_stats": state.stats}
        _, hidden = model.apply(
            variables,
            dataset.normalize(images),
            mutable=["activations", "features"],
        )
        units = jax.tree.leaves(hidden.get("activations", {}))
        dead = sum(x.shape[-1] * metrics.dormant_fraction(x) for x in units)
        (features,) = jax.tree.leaves(hidden["features"])
        return {
            "growth": metrics.weight_growth(state.params, initial, plan),
            "dead_units": dead / sum(x.shape[-1] for x in units) if units else None,
            "effective_rank": metrics.effective_rank(features),
            "balancedness": metrics.balancedness(_dense_kernels(state.params, plan))
            if config.protocol == "balancedness"
            else None,
        }

    test = [
        (jnp.asarray(dataset.test_images[part]), jnp.asarray(dataset.test_labels[part]))
        for start in range(0, len(dataset.test_labels), EVALUATION_BATCH)
        for part in [slice(start, start + EVALUATION_BATCH)]
    ]
    observed = jnp.asarray(dataset.test_images[:OBSERVED])

    def accuracy(state: TrainState) -> np.ndarray:
        correct = sum(count_correct(state, *part) for part in test)
        return np.asarray(correct) / len(dataset.test_labels)

    def evaluate(state: TrainState, initial: Any) -> Evaluation:
        seen = jax.tree.map(np.asarray, observe(state, initial, observed))
        return Evaluation(accuracy=accuracy(state), **seen)

    @jax.jit
    @jax.vmap
    def initialize(keys: jax.Array) -> TrainState:
        params, stats = init_variables(keys)
        # What a transformation keeps depends on no coefficient's value.
        coefficient = jax.tree.map(jnp.float32, config.coefficient(method_name) or 0.0)
        tx = method.optimizer(adam, setting(coefficient))
        return TrainState(params, stats, tx.init(params))

    @jax.jit
    @jax.vmap
    def change_data(params: Any, initial: Any, coefficient: Any) -> Any:
        if method.at_change is None:
            return params
        return method.at_change(params, initial, setting(coefficient))

    return Training(
        plan=plan,
        initialize=lambda seeds: initialize(
            jnp.stack([jax.random.key(seed) for seed in seeds])
        ),
        run_epoch=run_epoch,
        evaluate=evaluate,
        accuracy=accuracy,
        change_data=change_data,
    )


def _dense_kernels(params: Any, plan: RescalingPlan) -> list[jax.Array]:
    """The weights of a chain of dense layers, in order."""
    leaves = jax.tree.leaves(params)
    return [leaves[i] for i in plan.weights]

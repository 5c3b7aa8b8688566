"""One training step as a plain function: forward, loss, update, statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.methods import Method, Setting
from experiments.training.network import Network


class TrainState(NamedTuple):
    """What training changes.

    Attributes:
        params: parameters.
        stats: running statistics; empty for a network without BatchNorm.
        opt_state: the optimiser's state.
    """

    params: Any
    stats: Any
    opt_state: Any


class Batch(NamedTuple):
    """Examples of one step.

    Attributes:
        inputs: float32, normalised, (batch, ...).
        targets: labels, int32, (batch,); or numbers, float32, (batch, outputs).
        present: bool, (batch,); the last batch of an epoch may have gaps.
        classes: bool, (outputs,); which outputs count, or None for all.
    """

    inputs: jax.Array
    targets: jax.Array
    present: jax.Array
    classes: jax.Array | None = None


class Measured(NamedTuple):
    """What a step measures before its update.

    Attributes:
        loss: summed over its examples, without penalties.
        correct: how many examples are classified correctly; zero in a regression.
        gradient_norm: of the loss with penalties, as the optimiser's chain is given it.
    """

    loss: jax.Array
    correct: jax.Array
    gradient_norm: jax.Array


class Objective(NamedTuple):
    """What is learnt.

    Attributes:
        losses: (outputs, targets) → loss of each example.
        correct: (outputs, targets) → whether each example is right.
    """

    losses: Callable[[Any, Any], jax.Array]
    correct: Callable[[Any, Any], jax.Array]


def _is_right(outputs: Any, labels: Any) -> jax.Array:
    """Whether the largest output is the label's; never where one is not a number.

    The largest of outputs that are NaN would be the first, and a network that has
    diverged as good as chance.
    """
    numbers = ~jnp.isnan(outputs).any(-1)
    return (jnp.argmax(outputs, -1) == labels) & numbers


CLASSIFICATION = Objective(
    losses=optax.softmax_cross_entropy_with_integer_labels,
    correct=_is_right,
)
"""Cross-entropy, in nats."""

REGRESSION = Objective(
    losses=lambda outputs, targets: jnp.mean(jnp.square(outputs - targets), axis=-1),
    correct=lambda _, targets: jnp.zeros(len(targets), jnp.bool),
)
"""Squared error."""


def train_step(
    network: Network,
    method: Method,
    setting: Setting,
    optimizer: optax.GradientTransformationExtraArgs,
    objective: Objective,
    state: TrainState,
    batch: Batch,
) -> tuple[TrainState, Measured]:
    """One step of one network.

    Args:
        network: what is trained.
        method: what is done against the loss of plasticity.
        setting: its coefficient and all else that it asks for.
        optimizer: of which the method is a part.
        objective: the loss.
        state: before the step.
        batch: its examples.

    Returns:
        The state after the step, and what was measured before the update.
    """
    grads, seen = gradient(network, method, setting, objective, state, batch)
    observed = {"activations": seen.activations} if method.observes_units else {}
    updates, opt_state = optimizer.update(
        grads, state.opt_state, state.params, **observed
    )
    params = optax.apply_updates(state.params, updates)
    stats = seen.stats
    if stats:
        stats = method.statistics(stats, opt_state, setting)
    correct = objective.correct(seen.outputs, batch.targets) & batch.present
    measured = Measured(seen.loss, jnp.sum(correct), optax.tree.norm(grads))
    return TrainState(params, stats, opt_state), measured


class Seen(NamedTuple):
    """What a forward pass leaves beside the gradient.

    Attributes:
        outputs: (batch, outputs).
        stats: the updated running statistics.
        activations: of the hidden units, if the method observes them.
        loss: summed over the batch, without penalties.
    """

    outputs: jax.Array
    stats: Any
    activations: tuple[jax.Array, ...]
    loss: jax.Array


def gradient(
    network: Network,
    method: Method,
    setting: Setting,
    objective: Objective,
    state: TrainState,
    batch: Batch,
) -> tuple[Any, Seen]:
    """Of the mean loss with penalties, by the parameters."""
    forward = network.forward_observed if method.observes_units else network.forward

    def loss(params: Any) -> tuple[jax.Array, Seen]:
        outputs, stats, *activations = forward(
            params, state.stats, batch.inputs, batch.present
        )
        outputs = among(batch.classes, outputs)
        losses = objective.losses(outputs, batch.targets)
        total = jnp.sum(losses, where=batch.present)
        penalty = method.penalty(params, setting)
        seen = Seen(outputs, stats, tuple(*activations), total)
        return total / batch.present.sum() + penalty, seen

    return jax.grad(loss, has_aux=True)(state.params)


def among(classes: jax.Array | None, outputs: jax.Array) -> jax.Array:
    """Outputs of which only those of some classes can be the largest."""
    return outputs if classes is None else jnp.where(classes, outputs, -jnp.inf)

"""Shows loss of plasticity, and what Soft Weight Rescaling does against it.

The same 400 digits get new random labels for each task. A network that is still able
to learn gets each labelling about as right as the first one; plain Adam stops. This
file stands alone: copy it, and put your own network in the place of ``forward``.
"""

import argparse
from collections.abc import Callable
from functools import partial
from itertools import pairwise
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import swr_optax

IMAGES, BATCH, EPOCHS, WIDTHS = 400, 16, 40, (64, 100, 100, 10)

Params = list[dict[str, jax.Array]]


def init(key: jax.Array) -> Params:
    """Weights and biases uniform in ±1/√fan_in, as PyTorch has them."""
    params = []
    for fan_in, fan_out in pairwise(WIDTHS):
        key, w, b = jax.random.split(key, 3)
        limit = fan_in**-0.5
        uniform = partial(jax.random.uniform, minval=-limit, maxval=limit)
        params.append({"w": uniform(w, (fan_in, fan_out)), "b": uniform(b, (fan_out,))})
    return params


def forward(params: Params, x: jax.Array) -> jax.Array:
    """Logits, (batch, 10), of pixels (batch, 64)."""
    *hidden, last = params
    for layer in hidden:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ last["w"] + last["b"]


# The plan reads off the forward pass which parameters scale with which.
plan = swr_optax.plan_rescaling(
    forward, jax.eval_shape(init, jax.random.key(0)), jnp.zeros((BATCH, WIDTHS[0]))
)
# Features are held firmly. The classifier, held loosely, can turn with each task.
swr = swr_optax.soft_weight_rescaling({"feature": 1e-3, "classifier": 1e-4}, plan)

METHODS = {  # The optimiser, and whether each task starts from a fresh network.
    "fresh network": (optax.adam(1e-3), True),  # The control: nothing to lose.
    "Adam": (optax.adam(1e-3), False),
    "Adam + SWR": (optax.chain(optax.adam(1e-3), swr), False),
}


def make_task(tx: optax.GradientTransformation) -> Callable[..., Any]:
    """The whole of a task as one compiled program."""

    def step(state: Any, batch: Any) -> tuple[Any, jax.Array]:
        (params, opt_state), (x, labels) = state, batch

        def loss(params: Params) -> tuple[jax.Array, jax.Array]:
            logits = forward(params, x)
            losses = optax.losses.softmax_cross_entropy_with_integer_labels(
                logits, labels
            )
            return losses.mean(), logits

        grads, logits = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        # Online accuracy: these logits were made before the update.
        return (params, opt_state), (logits.argmax(axis=-1) == labels).mean()

    @jax.jit
    def learn(
        state: Any, images: jax.Array, labels: jax.Array, key: jax.Array
    ) -> tuple[Any, jax.Array]:
        keys = jax.random.split(key, EPOCHS)
        order = jax.vmap(lambda key: jax.random.permutation(key, IMAGES))(keys)
        order = order.reshape(-1, BATCH)
        state, accuracies = jax.lax.scan(
            lambda state, rows: step(state, (images[rows], labels[rows])), state, order
        )
        return state, accuracies.mean()

    return learn


def run(method: str, tasks: int, seed: int = 0) -> np.ndarray:
    """Online accuracy of each task, (tasks,)."""
    tx, fresh = METHODS[method]
    learn, digits = make_task(tx), load_digits()
    pixels = (digits.data - digits.data.mean()) / digits.data.std()
    chosen = np.random.default_rng(seed).permutation(len(pixels))[:IMAGES]
    images, labels = jnp.float32(pixels[chosen]), jnp.int32(digits.target[chosen])
    accuracies = []
    for task in range(tasks):
        # Seed and task determine all that is random: it is the same for each method.
        key = jax.random.fold_in(jax.random.key(seed), task)
        start, shuffle, order = jax.random.split(key, 3)
        if task == 0 or fresh:
            params = init(start)
            state = params, tx.init(params)
        shuffled = jax.random.permutation(shuffle, labels)
        state, accuracy = learn(state, images, shuffled, order)
        accuracies.append(float(accuracy))
    return np.array(accuracies)


def main() -> None:
    """Prints who keeps learning."""
    parser = argparse.ArgumentParser(description="Loss of plasticity on random labels.")
    parser.add_argument("--tasks", type=int, default=30, help="labellings to learn")
    tasks = parser.parse_args().tasks
    fifth = max(1, tasks // 5)
    print("online accuracy  first fifth  last fifth  kept learning  seconds")
    for method in METHODS:
        began = time.perf_counter()
        accuracies = run(method, tasks)
        first, last = accuracies[:fifth].mean(), accuracies[-fifth:].mean()
        kept = "yes" if last > 0.9 * first else "no"
        seconds = time.perf_counter() - began
        print(f"{method:15}  {first:11.3f}  {last:10.3f}  {kept:>13}  {seconds:7.1f}")


if __name__ == "__main__":
    main()

"""SWR's share of a training step, measured in turn with Adam alone."""

from __future__ import annotations

from collections.abc import Callable
import time

import jax
import numpy as np
import optax
from rich.console import Console

from experiments.models import MLP
import swr_optax

BATCH, STEPS, PIXELS = 256, 64, (28, 28, 1)


def run(rounds: int) -> None:
    """Prints medians over rounds; each times an epoch of 64 steps both ways."""
    model = MLP(10)
    images = jax.random.normal(jax.random.key(0), (16 * BATCH, *PIXELS))
    labels = jax.random.randint(jax.random.key(1), (len(images),), 0, 10)
    order = jax.random.randint(jax.random.key(2), (STEPS, BATCH), 0, len(images))
    params = model.init(jax.random.key(3), images[:1])["params"]
    plan = swr_optax.plan_rescaling(
        lambda params, x: model.apply({"params": params}, x), params, images[:BATCH]
    )
    adam = optax.adam(1e-3)
    with_swr = optax.chain(adam, swr_optax.soft_weight_rescaling(1e-4, plan))

    def epoch_of(tx: optax.GradientTransformation) -> Callable[[], float]:
        def step(carry, rows):  # type: ignore[no-untyped-def]
            params, opt_state = carry

            def loss(params):  # type: ignore[no-untyped-def]
                logits = model.apply({"params": params}, images[rows])
                return optax.softmax_cross_entropy_with_integer_labels(
                    logits, labels[rows]
                ).mean()

            updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        epoch = jax.jit(lambda carry: jax.lax.scan(step, carry, order)[0])
        start = (params, tx.init(params))

        def seconds() -> float:
            began = time.perf_counter()
            jax.block_until_ready(epoch(start))
            return time.perf_counter() - began

        seconds()  # Compiles.
        return seconds

    plain, rescaled = epoch_of(adam), epoch_of(with_swr)
    times = np.array([(plain(), rescaled()) for _ in range(rounds)]) / STEPS
    ratios = times[:, 1] / times[:, 0]
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    Console().print(
        f"MLP 784-100-100-10, batch {BATCH}, on {jax.devices()[0].device_kind}:"
        f" medians of {rounds} rounds\n"
        f"Adam        {np.median(times[:, 0]) * 1e6:7.0f} µs a step\n"
        f"Adam + SWR  {np.median(times[:, 1]) * 1e6:7.0f} µs a step\n"
        f"SWR's share {100 * (middle - 1):.1f} % of Adam's step"
        f" (quartiles {100 * (low - 1):.1f} to {100 * (high - 1):.1f} %)",
        highlight=False,
    )

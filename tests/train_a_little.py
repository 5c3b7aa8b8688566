"""Trains a model with SWR for a few steps, alone in its process.

``python train_a_little.py DATASET MODEL BATCH STEPS`` prints, as JSON, the mean
losses of two such epochs, the seconds that the second took, the largest scaler's
distance from 1 and the process's largest resident memory in gigabytes.
"""

import json
from pathlib import Path
import resource
import sys
import time

import jax
import numpy as np

from experiments.config import Config
from experiments.datasets import load_dataset
from experiments.training import Member, make_training, shuffled, stacked_coefficients
from swr_optax import SoftWeightRescalingState


def largest_memory():
    """Largest resident memory of this process so far, in bytes."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # On Linux getrusage also counts the process that started this one.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def main(dataset_name, model, batch, steps):
    config = Config(
        protocol="single-task",
        dataset=dataset_name,
        model=model,
        methods=("swr_two",),
        batch_size=batch,
    )
    training = make_training(config, load_dataset(dataset_name), "swr_two")
    coefficients = stacked_coefficients(
        [Member(0, {"feature": 1e-2, "classifier": 1e-1})]
    )
    state = training.initialize([0])
    losses = []
    for epoch in range(2):
        order = shuffled(np.arange(batch * steps), batch, steps, (0, epoch))
        start = time.perf_counter()
        state, loss = jax.block_until_ready(
            training.run_epoch(state, coefficients, order[None])
        )
        seconds = time.perf_counter() - start
        losses += loss.tolist()
    states = jax.tree.leaves(
        state.opt_state, is_leaf=lambda x: isinstance(x, SoftWeightRescalingState)
    )
    scalers = [s.log_scalers for s in states if isinstance(s, SoftWeightRescalingState)]
    found = {
        "losses": losses,
        "seconds": seconds,
        "scaled": float(np.abs(scalers).max()),
        "gigabytes": largest_memory() / 1e9,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))

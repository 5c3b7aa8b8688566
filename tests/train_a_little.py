"""Trains a model with SWR for a few steps, alone in its process.

``python train_a_little.py DATASET MODEL BATCH STEPS`` prints, as JSON, the mean
losses of two such epochs, the seconds that the second took, the largest scaler's
distance from 1 and the process's largest resident memory in gigabytes.
"""

import json
import sys
import time

import jax
import numpy as np

from experiments.data import load_dataset
from experiments.protocols.config import Config
from experiments.protocols.stage_loop import on_device, stage_training
from experiments.training.lanes import Member, shuffled, stacked
from memory import largest_memory
from swr_optax import SoftWeightRescalingState


def main(dataset_name, model, batch, steps):
    coefficient = {"feature": 1e-2, "classifier": 1e-1}
    config = Config(
        dataset=dataset_name, model=model, methods=("swr_two",), batch_size=batch
    )
    dataset = load_dataset(dataset_name)
    training = stage_training(config, dataset, "swr_two")
    data, _ = on_device(dataset)
    members = [Member(0, coefficient, 1e-3)]
    state = training.initialize(members)
    losses = []
    for epoch in range(2):
        order = shuffled(np.arange(batch * steps), batch, steps, (0, epoch))
        start = time.perf_counter()
        state, sums = jax.block_until_ready(
            training.run(state, stacked(members), data, order[None])
        )
        seconds = time.perf_counter() - start
        losses += (sums["loss"] / order.size).tolist()
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

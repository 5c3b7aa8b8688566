"""Folders of runs with invented numbers, for the report that gathers runs."""

import csv
import json
import os

import jax
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from experiments.protocols.stages import PROTOCOLS

COLUMNS = [
    *("protocol", "dataset", "model", "method", "seed", "stage", "epoch", "step"),
    *("train_loss", "test_accuracy", "stream_accuracy", "weight_growth"),
    *("dead_units", "effective_rank", "seconds"),
]
LAYERS = {
    "mlp": [f"Dense_{i}/kernel" for i in range(3)],
    "cnn": [f"Conv_{i}/kernel" for i in range(2)]
    + [f"Dense_{i}/kernel" for i in range(3)],
    "vgg16": [f"Conv_{i}/kernel" for i in range(13)]
    + [f"BatchNorm_{i}/scale" for i in range(13)]
    + [f"Dense_{i}/kernel" for i in range(3)],
}
DROPS = {"full_reset": 0.7, "head_reset": 0.3, "shrink_and_perturb": 0.05}
COEFFICIENTS = {"l2": 1e-5, "l2_init": 1e-5, "shrink_and_perturb": 0.4, "swr": 1e-4}


def training_rows(config, finished):
    """Curves that rise with noise and drop at changes of data: test data."""
    stages = config.get("stages", PROTOCOLS[config["protocol"]].stages)
    layers = LAYERS[config["model"]]
    for index, method in enumerate(config["methods"]):
        top = 0.9 + 0.005 * index
        for seed in range(config["seeds"]):
            generator = np.random.default_rng((index, seed))
            accuracies = []
            first = 2 if method == "scratch" and stages == 2 else 1
            for stage in range(first, stages + 1):
                start = 0 if stage > first else 1
                for epoch in range(start, config["epochs"] + 1):
                    if len(accuracies) == finished:
                        break
                    settled = 1 - np.exp(-8 * epoch / config["epochs"])
                    drop = DROPS.get(method, 0.02) if stage > 1 else 0.8
                    accuracy = top - drop * (1 - settled) + 0.002 * stage
                    accuracy += 0.003 * generator.normal()
                    accuracies.append(accuracy)
                    growth = 1 + 0.3 * (stage - 1 + settled) / (1 + index)
                    row = [config[name] for name in ("protocol", "dataset", "model")]
                    row += [method, seed, stage, epoch, 100 * stage + epoch]
                    row += [0.3 * (1 - settled) if epoch else "", accuracy]
                    row += [np.mean(accuracies), growth, 0.05 * stage, 40.5, 1.25]
                    row += [growth + 0.1 * depth for depth in range(len(layers))]
                    if config["protocol"] == "balancedness":
                        row.append(1 - 0.02 * epoch / (1 + index))
                    yield row


def proportionality_rows(config):
    for method in config["methods"]:
        for seed in range(config["seeds"]):
            for ratio in (0.01, 0.1, 0.5, 1.0, 2.0, 10.0):
                for biases in ("rescaled", "kept"):
                    for when in ("at once", "best of 50"):
                        lost = 0.1 * abs(np.log10(ratio)) * (biases == "kept")
                        accuracy = 0.65 - lost + 0.002 * seed + 0.01 * (when[0] == "b")
                        names = [config[name] for name in ("protocol", "dataset")]
                        names += [config["model"], method, seed, ratio]
                        yield [*names, biases, when, accuracy]


@pytest.fixture(scope="session", autouse=True)
def thrift(tmp_path_factory):
    """Nothing is compiled twice, and BLAS's threads do not wait for each other."""
    folder = tmp_path_factory.mktemp("xla")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture(scope="session")
def write_folder():
    """Writes a run's folder; the numbers are invented, the format is not."""

    def write(folder, *, finished=None, written=None, **fields):
        config = {
            "protocol": "single-task",
            "dataset": "mnist",
            "model": "mlp",
            "methods": ["vanilla", "swr"],
            "seeds": 5,
            "epochs": 4,
            "profile": "quick",
            "train_images": None,
            "coefficients": COEFFICIENTS,
            "versions": {"jax": "0.0.0-test"},
            "device": {"platform": "cpu", "kind": "test data"},
            **fields,
        }
        columns = [*COLUMNS, *(f"growth/{name}" for name in LAYERS[config["model"]])]
        rows = training_rows(config, finished)
        if config["protocol"] == "balancedness":
            columns.append("balancedness")
        if config["protocol"] == "proportionality":
            columns = [*COLUMNS[:5], "ratio", "biases", "when", "test_accuracy"]
            rows = proportionality_rows(config)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config))
        with (folder / "metrics.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for row in rows:
                writer.writerow(
                    f"{value:.6g}" if isinstance(value, float) else value
                    for value in row
                )
        if written is not None:
            os.utime(folder / "metrics.csv", (written, written))
        return folder

    return write

"""Wrong command lines, and folders of runs with invented numbers for the report."""

import csv
import json
import os
import signal

import jax
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from experiments.__main__ import main
from experiments.protocols.stages import PROTOCOLS
from experiments.protocols.streams import STREAMS

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
    "actor_critic_small": ["actor_0/kernel", "policy/kernel", "value/kernel"],
    "actor_critic_small_shared": ["trunk_0/kernel", "policy/kernel", "value/kernel"],
}
DROPS = {"full_reset": 0.7, "head_reset": 0.3, "shrink_and_perturb": 0.05}
COEFFICIENTS = {"l2": 1e-5, "l2_init": 1e-5, "shrink_and_perturb": 0.4, "swr": 1e-4}
COEFFICIENTS["swr_two"] = {"feature": 1e-3, "classifier": 1e-4}


def seeds_of(config):
    """As the configuration says."""
    first = config.get("first_seed", 0)
    return range(first, first + config["seeds"])


def training_rows(config, finished):
    """Curves that rise with noise and drop at changes of data: test data."""
    stages = config.get("stages", PROTOCOLS[config["protocol"]].stages)
    layers = LAYERS[config["model"]]
    for index, method in enumerate(config["methods"]):
        top = 0.9 + 0.005 * index
        for seed in seeds_of(config):
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
                    accuracy = min(accuracy + 0.003 * generator.normal(), 1.0)
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
        for seed in seeds_of(config):
            for ratio in (0.01, 0.1, 0.5, 1.0, 2.0, 10.0):
                for biases in ("rescaled", "kept"):
                    for when in ("at once", "best of 50"):
                        lost = 0.1 * abs(np.log10(ratio)) * (biases == "kept")
                        accuracy = 0.65 - lost + 0.002 * seed + 0.01 * (when[0] == "b")
                        names = [config[name] for name in ("protocol", "dataset")]
                        names += [config["model"], method, seed, ratio]
                        yield [*names, biases, when, accuracy]


STREAM_COLUMNS = [
    *("protocol", "dataset", "model", "method", "seed", "task", "step"),
    *("online_accuracy", "end_accuracy", "test_accuracy", "train_loss"),
    *("gradient_norm", "weight_growth", "dead_units", "effective_rank"),
    *("seconds", "scored"),
]
# What is lost over a stream, how good it is at the start, how much weights grow.
PLASTICITY = {
    "fresh": (0.0, 0.43, 2.6),
    "vanilla": (0.3, 0.37, 5.0),
    "l2": (0.15, 0.42, 1.8),
    "l2_init": (0.09, 0.46, 2.1),
    "shrink_and_perturb": (0.12, 0.4, 3.0),
    "swr": (0.04, 0.34, 1.9),
    "swr_two": (-0.06, 0.43, 1.5),
}


AGENT_COLUMNS = [
    *("protocol", "dataset", "model", "method", "seed", "task", "game", "step"),
    *("average_return", "final_return", "episodes", "entropy"),
    *("explained_variance", "train_loss", "gradient_norm", "weight_growth"),
    *("dead_units", "effective_rank", "seconds"),
]


def agent_rows(config):
    """Agents of which some stop learning: invented too."""
    low = -400 if config["dataset"] == "acrobot" else 20
    for index, method in enumerate(config["methods"]):
        lost = PLASTICITY.get(method, (0.1, 0, 0))[0]
        for seed in seeds_of(config):
            generator = np.random.default_rng((index, seed, 2))
            for level in range(1, config["tasks"] + 1):
                done = level / config["tasks"]
                value = low + 250 * (1 - lost * done) + 9 * generator.normal()
                row = [config[name] for name in ("protocol", "dataset", "model")]
                row += [method, seed, level, "CartPole-v1", 48_000 * level, value]
                row += [value + 50, 300, 0.6 - lost * done, 0.9, 0.3, 1.0]
                yield [*row, 1 + done, 0.1, 9.0, 2.0 * level, 1.5, 1.2, 1.1]


def stream_rows(config):
    """Streams that some methods lose, and others do not: invented as well."""
    protocol, tasks = config["protocol"], config["tasks"]
    easy = protocol == "five-plus-one"
    tested = protocol in ("class-pairs", "class-incremental")
    loss = protocol == "slowly-changing-regression"
    depths = len(LAYERS[config["model"]])
    for index, method in enumerate(config["methods"]):
        lost, start, grown = PLASTICITY.get(method, (0.01 * index, 0.4, 2.0))
        for seed in seeds_of(config):
            generator = np.random.default_rng((index, seed, 1))
            shared = np.random.default_rng(seed).normal(size=tasks)
            for task in range(1, tasks + 1):
                done = task / tasks
                online = start - lost * (1 - np.exp(-3 * done)) + 0.01 * seed
                online += 0.02 * shared[task - 1] + 0.008 * generator.normal()
                scored = int(not easy or task % 2 == 1)
                online = np.clip(online, 0, 1) if scored else 0.95
                accuracy = "" if loss else online
                row = [config[name] for name in ("protocol", "dataset", "model")]
                row += [method, seed, task, 100 * task, accuracy]
                row += ["" if loss else min(online + 0.3, 1.0)]
                row += [max(online - 0.05, 0.0) if tested else "", 1.0 - online]
                growth = 1 + (grown - 1) * (1 - np.exp(-3 * done))
                row += [0.4 * (1 + done), growth, max(lost, 0.0) * done, 40 - 30 * lost]
                row += [1.5 * task, scored]
                yield row + [growth + 0.1 * depth for depth in range(depths)]


@pytest.fixture(scope="module", autouse=True)
def programs_are_kept():
    """What is compiled here, other tests take: these compile much alike."""
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    yield
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


@pytest.fixture(scope="session", autouse=True)
def at_a_terminal():
    """Signals are heard, and BLAS's threads do not wait for each other."""
    # Under nohup or in the background of a script these are ignored, here and in what
    # is started.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.name == "posix":
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture
def check_mistake(tmp_path, monkeypatch, capsys):
    """Gives a wrong command: status 2, one line on stderr, nothing elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}-cache")

    def check(arguments, message):
        there = sorted(tmp_path.iterdir())
        status = main(arguments)
        printed = capsys.readouterr()
        assert status == 2, printed.err
        assert len(printed.err.splitlines()) == 1, printed.err
        assert printed.err.startswith("swr-experiments: ")
        assert message in printed.err
        assert not printed.out
        assert sorted(tmp_path.iterdir()) == there

    return check


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
        layers = [f"growth/{name}" for name in LAYERS[config["model"]]]
        columns = [*COLUMNS, *layers]
        if config["protocol"] in STREAMS:
            config = {
                "tasks": 10,
                "batch_size": 16,
                "learning_rate": 1e-3,
                "learning_rates": {},
            } | config
            columns, rows = [*STREAM_COLUMNS, *layers], stream_rows(config)
        elif config["protocol"] == "agent":
            config = {"tasks": 10, "iterations": 60, "learning_rate": 1e-3} | config
            del config["train_images"]
            columns, rows = [*AGENT_COLUMNS, *layers], agent_rows(config)
        else:
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

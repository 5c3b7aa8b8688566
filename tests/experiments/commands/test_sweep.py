"""Coefficients are chosen on training images alone."""

import csv
import dataclasses
import json
import sys

import numpy as np
import pytest

from experiments.__main__ import main
from experiments.commands import stages
from experiments.commands.sweep import Point, compare_on_images, points_of, run, score
from experiments.data import load_dataset
from experiments.errors import UserError
from experiments.methods import METHODS
from experiments.protocols.config import Config
from experiments.protocols.records import Record, TaskRecord
from experiments.protocols.streams import STREAMS
from experiments.training.checkpoint import Checkpoints
from real_loops import without_seconds

CONFIG = Config(
    protocol="single-task",
    methods=("swr",),
    epochs=6,
    seeds=2,
    train_images=300,
    batch_size=64,
    learning_rate=3e-3,
)
GRID = (1.0, 1e-3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def use_cache(cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def means(folder):
    """Mean accuracy on the held-out images of each coefficient: all epochs are late."""
    found = {}
    for row in rows(folder / "sweep.csv"):
        if row["epoch"] != "0":
            value = float(row["validation_accuracy"])
            found.setdefault(float(row["coefficient"]), []).append(value)
    return {coefficient: np.mean(values) for coefficient, values in found.items()}


def test_it_picks_the_best_and_then_tests_it_with_all_training_images(tmp_path, capsys):
    run(CONFIG, GRID, (), tmp_path / "out", None, tensorboard=False)
    found = means(tmp_path / "out")
    assert set(found) == set(GRID)
    told = json.loads((tmp_path / "out" / "sweep.json").read_text())
    scores = np.mean(told["scores"], axis=1)
    np.testing.assert_allclose(scores, [found[c] for c in GRID])
    best = max(found, key=found.get)
    assert len(set(found.values())) == 2
    config = json.loads((tmp_path / "out" / "best" / "config.json").read_text())
    assert config["coefficients"] == {"swr": best}
    table = rows(tmp_path / "out" / "best" / "metrics.csv")
    assert {row["seed"] for row in table} == {"0", "1"}
    # 270 images in 5 batches while comparing, 300 also in 5: count epochs' ends.
    assert table[-1]["step"] == str(5 * CONFIG.epochs)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "sweep.csv",
        "sweep.json",
        "best",
    }
    (line,) = [
        x for x in capsys.readouterr().out.splitlines() if "best" in x and "│" in x
    ]
    assert f"{best:g}" in line


def test_test_images_have_no_say(tmp_path, monkeypatch):
    """Noise in their place changes the test, and neither choice nor comparison."""
    real = load_dataset("digits")
    noise = np.random.default_rng(0).integers(0, 17, real.test_images.shape, np.uint8)
    run(CONFIG, GRID, (), tmp_path / "real", None, tensorboard=False)
    spoilt = dataclasses.replace(real, test_images=noise)
    monkeypatch.setattr(stages, "load_dataset", lambda *_: spoilt)
    run(CONFIG, GRID, (), tmp_path / "noise", None, tensorboard=False)

    one, other = (
        without_seconds(tmp_path / folder / "sweep.csv") for folder in ("real", "noise")
    )
    assert one == other

    def tested(name):
        table = rows(tmp_path / name / "best" / "metrics.csv")
        return [float(row["test_accuracy"]) for row in table]

    assert tested("real")[-1] > 0.7 > 0.4 > tested("noise")[-1]


def test_test_images_have_no_say_where_a_stream_is_scored_on_them(
    tmp_path, monkeypatch
):
    """Seeds of its own do not change what class-incremental learning is tested on."""
    name = "class-incremental"
    lengths = {"digits": STREAMS[name].published["cifar100"]}
    own = STREAMS[name]._replace(published=lengths, quick=lengths)
    monkeypatch.setitem(STREAMS, name, own)
    real = load_dataset("digits")

    def some(labels, each):  # Of one size, as the classes of CIFAR-100 are.
        return np.concatenate([np.flatnonzero(labels == k)[:each] for k in range(10)])

    kept, tested = some(real.train_labels, 100), some(real.test_labels, 20)
    real = dataclasses.replace(
        real,
        train_images=real.train_images[kept],
        train_labels=real.train_labels[kept],
        test_images=real.test_images[tested],
        test_labels=real.test_labels[tested],
    )
    noise = np.random.default_rng(0).integers(0, 17, real.test_images.shape, np.uint8)
    spoilt = dataclasses.replace(real, test_images=noise)
    config = dataclasses.replace(
        STREAM, protocol=name, tasks=2, train_images=None, seeds=1
    )
    for folder, dataset in (("real", real), ("noise", spoilt)):
        monkeypatch.setattr(stages, "load_dataset", lambda *_, of=dataset: of)
        run(config, GRID, (1e-3,), tmp_path / folder, None, tensorboard=False)
    one, other = (
        without_seconds(tmp_path / folder / "sweep.csv") for folder in ("real", "noise")
    )
    assert one == other
    compared = rows(tmp_path / "real" / "sweep.csv")
    assert all(float(row["validation_accuracy"]) > 0.2 for row in compared)
    best, spoilt = (
        [row["test_accuracy"] for row in rows(tmp_path / folder / "best/metrics.csv")]
        for folder in ("real", "noise")
    )
    assert best != spoilt


def test_a_grid_runs_each_coefficient_for_each_seed(tmp_path):
    dataset = load_dataset("digits").subset(200, None).held_out(0.1)
    config = dataclasses.replace(CONFIG, methods=("swr_two",), epochs=1)
    grid = [
        {"feature": 0.1, "classifier": 1.0},
        {"feature": 1.0, "classifier": 0.1},
    ]
    points = [Point(value, 1e-3) for value in grid]
    checkpoints = Checkpoints(tmp_path / "c", "")
    found = compare_on_images(config, dataset, points, checkpoints)
    assert [[h[0].seed for h in of_one] for of_one in found] == [[0, 1], [0, 1]]
    for coefficients, of_one in zip(grid, found, strict=True):
        for (record,) in of_one:
            *features, classifier = record.growth.values()
            held = {"feature": features, "classifier": [classifier]}
            for group, growth in held.items():
                if coefficients[group] == 1:  # Norms stay at their initial values.
                    np.testing.assert_allclose(growth, 1, rtol=1e-5)
                else:
                    assert (np.abs(np.array(growth) - 1) > 1e-5).all()


@pytest.mark.parametrize(
    ("method", "protocol", "rates"),
    [
        ("swr", "random-labels", [1e-3, 1e-4]),
        ("upgd", "random-labels", [0.01, 1e-3, 1e-4]),
        ("swr", "warm-start", [1e-3]),
        ("upgd", "warm-start", [0.01]),
    ],
)
def test_a_method_s_own_rate_is_among_those_that_are_tried(method, protocol, rates):
    tasks = 2 if protocol == "random-labels" else None
    config = Config(protocol, methods=(method,), tasks=tasks)
    points = points_of(config, METHODS[method].grid[:2], ())
    assert list(dict.fromkeys(point.rate for point in points)) == rates
    assert len(points) == 2 * len(rates)


def test_the_papers_grids():
    grids = {name: method.grid for name, method in METHODS.items() if method.grid}
    assert grids["l2"] == grids["l2_init"] == (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    assert grids["shrink_and_perturb"] == (0.2, 0.4, 0.6, 0.8)
    assert grids["swr"] == (1, 1e-1, 1e-2, 1e-3, 1e-4)
    pairs = {(c["feature"], c["classifier"]) for c in grids["swr_two"]}
    assert pairs == {(f, c) for f in grids["swr"] for c in grids["swr"]}
    for method, grid in grids.items():  # Each of them is a legal coefficient.
        at_falls = METHODS[method].at_falls
        protocol = "single-task-decay" if at_falls else "warm-start"
        for value in grid:
            Config(protocol, methods=(method,), coefficients={method: value})


@pytest.mark.parametrize(
    ("fields", "grid", "message"),
    [
        ({"methods": ("vanilla",)}, (1.0,), "'vanilla' has no coefficient to find"),
        ({"methods": ("hard_projection",)}, (1.0,), "has no coefficient to find"),
        ({}, (0.5, 2.0), "coefficient of 'swr' must be from 0 to 1, not 2"),
        ({}, (0.5, 0.5), "--grid has 0.5 twice"),
        ({}, (0.5, {"feature": 0.5, "classifier": 1.0}), "one number everywhere, or"),
        ({"train_images": 1}, (0.5,), "of train_images only 0 are not held out"),
        (
            {"train_images": 10, "protocol": "continual-full"},
            (0.5,),
            "only 9 are not held out, fewer than the 10 stages of continual-full",
        ),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_is_written(
    fields, grid, message, tmp_path
):
    config = dataclasses.replace(CONFIG, **fields)
    with pytest.raises(UserError) as error:
        run(config, grid, (), tmp_path / "out", None, tensorboard=False)
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_noticed_before_the_sweep(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match="pip install tensorboardX"):
        run(CONFIG, GRID, (), tmp_path / "out", None, tensorboard=True)
    assert not list(tmp_path.iterdir())


def test_stopped_in_the_best_run_it_does_not_compare_again(tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIG, epochs=1, seeds=1)
    real = stages.run
    # What an earlier sweep found is in the way of no other.
    earlier = dataclasses.replace(config, coefficients={"swr": 0.5})
    real(earlier, tmp_path / "out" / "best", None, tensorboard=False)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(config, GRID, (), tmp_path / "out", None, tensorboard=False)
    first = rows(tmp_path / "out" / "sweep.csv")
    monkeypatch.setattr(stages, "run", real)
    run(config, GRID, (), tmp_path / "out", None, tensorboard=False)
    # Seconds and all: these are the numbers of the first time.
    assert rows(tmp_path / "out" / "sweep.csv") == first
    assert (tmp_path / "out" / "best" / "metrics.csv").is_file()
    found = json.loads((tmp_path / "out" / "best" / "config.json").read_text())
    assert found["coefficients"]["swr"] in GRID


STREAM = Config(
    protocol="random-labels",
    methods=("swr",),
    epochs=2,
    seeds=1,
    tasks=2,
    train_images=64,
    batch_size=16,
)


def test_a_stream_is_compared_on_seeds_of_its_own(tmp_path, monkeypatch):
    """As a user types it; the best one is run on the seeds that count."""
    monkeypatch.chdir(tmp_path)
    small = ("--tasks", "2", "--epochs", "2", "--train-images", "64", "--seeds", "2")
    arguments = ("--protocol", "random-labels", "--grid", "1e-2", "1e-3")
    assert main(["sweep", "swr", *arguments, *small, "--rates", "1e-2"]) == 0
    out = tmp_path / "runs" / "sweep-swr-random-labels-digits-mlp"
    # One rate and one coefficient: there is no map.
    assert {path.name for path in out.iterdir()} == {"sweep.csv", "sweep.json", "best"}
    compared = rows(out / "sweep.csv")
    assert [(r["coefficient"], r["learning_rate"], r["seed"]) for r in compared] == [
        (coefficient, "0.01", seed)
        for coefficient in ("0.01", "0.001")
        for seed in ("1000", "1001", "1002")
        for _ in range(2)
    ]
    means = {
        value: np.mean(
            [float(r["online_accuracy"]) for r in compared if r["coefficient"] == value]
        )
        for value in ("0.01", "0.001")
    }
    config = json.loads((out / "best" / "config.json").read_text())
    assert config["coefficients"] == {"swr": float(max(means, key=means.get))}
    assert config["learning_rates"] == {"swr": 0.01}
    assert {r["seed"] for r in rows(out / "best" / "metrics.csv")} == {"0", "1"}


def test_two_coefficients_of_a_stream_make_a_map(tmp_path):
    """And each of them takes effect: with λ = 1 a norm stays as it was."""
    config = dataclasses.replace(STREAM, methods=("swr_two",))
    grid = [{"feature": f, "classifier": c} for f in (1.0, 1e-3) for c in (1.0, 1e-3)]
    run(config, grid, (1e-2,), tmp_path / "out", None, tensorboard=False)
    assert (tmp_path / "out" / "map.png").stat().st_size > 10_000
    for row in rows(tmp_path / "out" / "sweep.csv"):
        feature, classifier = (
            float(row[f"coefficient/{group}"]) for group in ("feature", "classifier")
        )
        held = float(row["growth/Dense_0/kernel"]) == pytest.approx(1, abs=1e-5)
        assert held == (feature == 1)
        held = float(row["growth/Dense_2/kernel"]) == pytest.approx(1, abs=1e-5)
        assert held == (classifier == 1)


@pytest.mark.parametrize(
    ("fields", "measured"),
    [
        (
            {
                "protocol": "slowly-changing-regression",
                "dataset": "bits",
                "model": "mlp_five",
            },
            "minus the mean squared error",
        ),
        # Of a network whose outputs are no numbers, the first is not the largest.
        ({"tasks": 3}, "online accuracy"),
    ],
)
def test_what_diverges_is_the_worst(fields, measured, tmp_path, capsys):
    """By its loss, which is then no number: the other rate is run."""
    config = dataclasses.replace(STREAM, methods=("vanilla",), optimizer="sgd")
    config = dataclasses.replace(config, **fields)
    rates = (1e30, 1e-6)
    run(config, (), rates, tmp_path / "out", None, tensorboard=False)
    found = {}
    for row in rows(tmp_path / "out" / "sweep.csv"):
        found.setdefault(float(row["learning_rate"]), []).append(row)
    assert "nan" in [row["train_loss"] for row in found[1e30]]
    assert "nan" not in [row["train_loss"] for row in found[1e-6]]
    if measured == "online accuracy":
        late = [row["online_accuracy"] for row in found[1e30] if row["task"] != "1"]
        assert {*late} == {"0"}
        assert found[1e30][-1]["dead_units"] == "nan"
    chosen = json.loads((tmp_path / "out" / "best" / "config.json").read_text())
    assert chosen["learning_rates"] == {"vanilla": 1e-6}
    table = " ".join(capsys.readouterr().out.split())
    assert f"{measured}, mean over all tasks, seeds 1000 to 1002" in table


def test_a_stream_is_swept_over_the_published_rates():
    points = points_of(STREAM, (), ())
    assert len(points) == 2 * len(METHODS["swr"].grid)
    assert {point.rate for point in points} == {1e-3, 1e-4}
    vanilla = dataclasses.replace(STREAM, methods=("vanilla",))
    assert points_of(vanilla, (), ()) == [Point(None, 1e-3), Point(None, 1e-4)]
    # The paper's protocols keep their one rate.
    assert {point.rate for point in points_of(CONFIG, (), ())} == {3e-3}


@pytest.mark.parametrize(
    ("rates", "message"),
    [((1e-3, 1e-3), "--rates has a number twice"), ((0.0,), "must be positive, not 0")],
)
def test_rates_that_cannot_be_tried_are_refused(rates, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run(STREAM, (1e-3,), rates, tmp_path / "out", None, tensorboard=False)
    assert not list(tmp_path.iterdir())


def test_a_seed_of_epochs_is_worth_the_last_ten_of_the_last_stage():
    """As the report ranks it: one lucky epoch at the end does not count for all."""
    names = [field.name for field in dataclasses.fields(Record)]
    zeros = dict.fromkeys(names[:-2], 0)
    blank = Record(**{**zeros, "protocol": "warm-start", "method": "l2"})

    def history(stage, *accuracies):
        return [
            dataclasses.replace(blank, stage=stage, epoch=epoch, test_accuracy=accuracy)
            for epoch, accuracy in enumerate(accuracies)
        ]

    first = history(1, 0.1, 0.9, 0.9)
    level = [*first, *history(2, 0.9, *[0.2] * 3, *[0.6] * 10)]
    lucky = [*first, *history(2, 0.9, *[0.2] * 3, *[0.5] * 9, 0.8)]
    assert score(level) == pytest.approx(0.6)
    assert score(lucky) == pytest.approx(0.53)
    diverged = dataclasses.replace(level[-1], test_accuracy=float("nan"))
    assert np.isnan(score([*level[:-1], diverged]))


def test_a_seed_of_a_stream_is_worth_its_scored_tasks():
    names = [field.name for field in dataclasses.fields(TaskRecord)]
    blank = TaskRecord(**dict.fromkeys(names[:-1], 0))

    def task(online, loss=1.0, scored=1, **fields):
        protocol = "slowly-changing-regression" if online is None else "random-labels"
        measured = {"online_accuracy": online, "train_loss": loss, "scored": scored}
        return dataclasses.replace(
            blank, **{"protocol": protocol, **measured, **fields}
        )

    assert score([task(0.2), task(0.9, scored=0), task(0.4)]) == pytest.approx(0.3)
    assert score([task(None, 1.0), task(None, 3.0)]) == -2
    assert np.isnan(score([task(0.2), task(0.9, loss=float("nan"))]))
    # As the report ranks it: by what is known at the end of all classes so far.
    tested = {"protocol": "class-incremental", "test_accuracy": 0.7}
    assert score([task(0.1, **tested)]) == 0.7

"""Networks that were trained, scaled once, and trained on."""

import jax
import numpy as np
import pytest

from experiments.commands.proportionality import run
from experiments.data import Dataset, load_dataset
from experiments.errors import UserError
from experiments.protocols.config import Config
from experiments.protocols.proportionality import (
    RATIOS,
    epochs_of,
    later_epochs,
    run_proportionality,
    scaled,
)
from experiments.protocols.stage_loop import on_device, stage_training
from experiments.reporting.drawing.plots import draw
from experiments.training import checkpoint
from experiments.training.checkpoint import Checkpoints
from experiments.training.lanes import stacked
from experiments.training.step import TrainState
from networks import network
import paper_rules

EPOCHS = 12


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Rows and ticks of a run whose networks have learnt something."""
    ticks = []
    checkpoints = Checkpoints(tmp_path_factory.mktemp("checkpoint"), "a run")
    config = Config(
        protocol="proportionality",
        epochs=EPOCHS,
        seeds=2,
        batch_size=64,
        learning_rate=3e-3,
    )
    dataset = load_dataset("digits").subset(600, None)
    return (
        config,
        run_proportionality(config, dataset, ticks.append, checkpoints),
        ticks,
    )


def accuracy(rows, seed, **fields):
    return {
        row["ratio"]: row["test_accuracy"]
        for row in rows
        if row["seed"] == seed and all(row[k] == v for k, v in fields.items())
    }


def test_every_ratio_is_measured_at_once_and_later(trained):
    config, rows, ticks = trained
    assert len(rows) == 2 * len(RATIOS) * 2 * 2
    assert (
        sum(map(len, ticks))
        == epochs_of(config)
        == 2 * (EPOCHS + 14 * later_epochs(config))
    )
    keys = {(r["seed"], r["ratio"], r["biases"], r["when"]) for r in rows}
    assert len(keys) == len(rows)
    assert {r["when"] for r in rows} == {"at once", f"best of {EPOCHS // 2}"}


@pytest.mark.parametrize("seed", [0, 1])
def test_with_rescaled_biases_the_accuracy_never_changes(trained, seed):
    _, rows, _ = trained
    found = accuracy(rows, seed, biases="rescaled", when="at once")
    assert list(found) == list(RATIOS)
    assert len(set(found.values())) == 1
    assert found[1.0] > 0.85


def test_with_kept_biases_it_does(trained):
    """Halved weights change the accuracy; a ratio of 1 is no scaling at all."""
    _, rows, _ = trained

    def both(ratio, biases, when="at once"):
        return [
            accuracy(rows, seed, biases=biases, when=when)[ratio] for seed in (0, 1)
        ]

    assert both(0.5, "kept") != both(0.5, "rescaled")
    for when in ("at once", f"best of {EPOCHS // 2}"):
        assert both(1.0, "kept", when) == both(1.0, "rescaled", when)


def state_of(net):
    tree = jax.tree.map(lambda leaf: leaf[None], (net.params, net.stats))
    return TrainState(*tree, opt_state=())


@pytest.mark.parametrize("model", ["mlp", "cnn", "cnn_bn"])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.7])
def test_scaling_is_the_papers(model, ratio):
    net = network(model)
    stats = jax.tree.map(lambda leaf: leaf + 1, net.stats)
    net = net._replace(stats=stats)
    before = paper_rules.flat(net.params, net.stats)
    c = [ratio] * len(net.layers)
    followed, _ = paper_rules.scale(before, net.layers, c)
    weights = {layer.weight for layer in net.layers}
    kept = {
        path: followed[path] if path in weights else leaf
        for path, leaf in before.items()
    }
    for keep, expected in ((False, followed), (True, kept)):
        found = scaled(state_of(net), ratio, net.plan(), keep_biases=keep)
        arrays = paper_rules.flat(
            *jax.tree.map(lambda leaf: leaf[0], (found.params, found.stats))
        )
        assert set(arrays) == set(expected)
        for path, leaf in expected.items():
            np.testing.assert_allclose(arrays[path], leaf, rtol=1e-5, err_msg=path)
    if model == "mlp":  # Biases by the power of their depth.
        for depth in (1, 2, 3):
            bias = f"Dense_{depth - 1}/bias"
            np.testing.assert_allclose(
                followed[bias], ratio**depth * before[bias], rtol=1e-12
            )


def test_running_statistics_follow_or_evaluation_would_change():
    digits = load_dataset("digits").subset(300, 200)

    def twice(images):
        return images.repeat(2, axis=1).repeat(2, axis=2)

    dataset = Dataset(
        digits.source,
        twice(digits.train_images),
        digits.train_labels,
        twice(digits.test_images),
        digits.test_labels,
    )
    config = Config(
        protocol="proportionality", dataset="mnist", model="cnn_bn", batch_size=100
    )
    training = stage_training(config, dataset, "vanilla")
    train, test = on_device(dataset)
    members = config.members("vanilla")[:1]
    state = training.initialize(members)
    order = np.arange(300, dtype=np.int32).reshape(1, 3, 100)
    for _ in range(3):
        state, _ = training.run(state, stacked(members), train, order)
    before = training.accuracy(state, test)
    assert before > 0.3
    for ratio in (0.5, 2.0):
        after = training.accuracy(
            scaled(state, ratio, training.plan, keep_biases=False), test
        )
        np.testing.assert_allclose(after, before, atol=0.005)  # ε is not scaled.


def test_the_method_that_is_named_trains(trained, tmp_path):
    """SWR with λ = 1 ends elsewhere than plain training."""
    _, plain, _ = trained
    dataset = load_dataset("digits").subset(600, None)
    fields = {"epochs": EPOCHS, "seeds": 1, "batch_size": 64, "learning_rate": 3e-3}
    config = Config(
        protocol="proportionality",
        methods=("swr",),
        coefficients={"swr": 1.0},
        **fields,
    )
    rows = run_proportionality(
        config, dataset, lambda _: None, Checkpoints(tmp_path, "a run")
    )
    assert {row["method"] for row in rows} == {"swr"}
    assert [row["test_accuracy"] for row in rows] != [
        row["test_accuracy"] for row in plain if row["seed"] == 0
    ]


class PulledPlugError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 4, 9])
def test_it_goes_on_as_if_nothing_had_been(after, tmp_path, monkeypatch):
    """Interrupted in the first training, at its end, and among scaled networks."""
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", -1.0)
    config = Config(protocol="proportionality", epochs=3, seeds=1, batch_size=64)
    dataset = load_dataset("digits").subset(200, 300)

    def rows(folder, tick):
        return run_proportionality(config, dataset, tick, Checkpoints(folder, "a run"))

    ticks = []

    def pull_the_plug(epochs):
        ticks.append(epochs)
        if len(ticks) > after:
            raise PulledPlugError

    whole = rows(tmp_path / "whole", lambda _: None)
    with pytest.raises(PulledPlugError):
        rows(tmp_path / "parted", pull_the_plug)
    ticks.clear()
    assert rows(tmp_path / "parted", ticks.append) == whole
    assert len(ticks[0]) == after - (after > 3 and (after - 3) % later_epochs(config))
    assert sum(map(len, ticks)) == epochs_of(config)


def test_two_methods_are_refused_before_anything_is_written(tmp_path):
    config = Config(protocol="proportionality", methods=("vanilla", "swr"))
    with pytest.raises(UserError, match="name one method"):
        run(config, tmp_path / "out", None)
    assert not list(tmp_path.iterdir())


def test_the_folder_has_what_its_figure_needs(tmp_path, monkeypatch, capsys):
    from experiments.reporting.collection import collect

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = Config(protocol="proportionality", epochs=1, seeds=1, train_images=100)
    run(config, tmp_path / "out", None)
    printed = capsys.readouterr().out
    assert "figure.png" in printed
    assert not (tmp_path / "out" / "checkpoint").exists()
    assert [line.split()[1] for line in printed.splitlines() if "│" in line] == [
        f"{ratio:g}" for ratio in RATIOS
    ]
    rows = collect([tmp_path / "out"]).rows
    assert sorted(rows["ratio"].unique()) == pytest.approx(list(RATIOS))
    assert draw(rows) is not None

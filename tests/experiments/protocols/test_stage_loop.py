"""The real loop on real digits, against one in NumPy."""

from concurrent.futures import CancelledError
import dataclasses
import functools

import numpy as np
import numpy_loop
import pytest
import threadpoolctl

from experiments.data import Dataset
from experiments.protocols.stage_loop import epochs_of, stage_training
from experiments.protocols.stages import PROTOCOLS, images_of_stage
from experiments.training.lanes import shuffled
from real_loops import configured, digits, numbers, run

TWO = {"feature": 0.02, "classifier": 0.3}
STRONG = {
    "l2": 0.05,
    "l2_init": 0.05,
    "shrink_and_perturb": 0.3,
    "swr": 0.05,
    "swr_two": TWO,
    "swr_reinit": TWO,
    "swr_follow": 0.1,
}
"""Coefficients whose effect is far above rounding."""


@functools.cache
def initial():
    """Seed 0's parameters before training, which no method determines."""
    state = stage_training(configured(), digits(300), "vanilla").initialize(
        configured().members("vanilla")
    )
    return {
        (layer, name): np.asarray(leaf[0])
        for layer, leaves in state.params.items()
        for name, leaf in leaves.items()
    }


def predicted(config, dataset):
    """What the one seed of the one method should record, by NumPy."""
    (method,) = config.methods
    entry, images = PROTOCOLS[config.protocol], len(dataset.train_labels)
    last = entry.stages
    stages = {}
    for stage in range(last if method == "scratch" else 1, last + 1):
        members = images_of_stage(config.protocol, images, stage, 0)
        size = -(-len(members) // config.batch_size)
        stages[stage] = [
            [
                batch[batch >= 0]
                for batch in shuffled(
                    members, config.batch_size, size, (0, stage, epoch)
                )
            ]
            for epoch in range(1, config.epochs + 1)
        ]
    steps = sum(len(batches) for epochs in stages.values() for batches in epochs)
    value = config.coefficient(method)
    if isinstance(value, dict):
        value = (value["feature"], value["classifier"])
    return numpy_loop.run(
        dataset,
        initial(),
        stages,
        method,
        1.0 if method == "hard_projection" else value,
        config.learning_rate,
        drops=[int(fraction * steps) for fraction in entry.drops],
    )


@pytest.mark.parametrize(
    ("protocol", "method", "epochs"),
    [
        *(
            ("warm-start", method, 2)
            for method in (
                *("scratch", "vanilla", "l2", "l2_init", "shrink_and_perturb"),
                *("head_reset", "full_reset", "swr", "swr_two", "hard_projection"),
            )
        ),
        ("continual-full", "shrink_and_perturb", 1),
        ("continual-limited", "head_reset", 1),
        ("single-task-decay", "vanilla", 3),
        ("single-task-decay", "swr_reinit", 3),
        ("single-task-decay", "swr_follow", 3),
    ],
)
def test_it_is_the_paper_s_in_numpy(protocol, method, epochs, tmp_path):
    """Stages, changes, drops, methods, order and each thing that is measured.

    Growth is of the weights as they are at the evaluation, so it shows that the
    stage's last step was rescaled too.
    """
    dataset = digits(300)
    given = {method: STRONG[method]} if method in STRONG else {}
    config = configured(
        protocol=protocol,
        methods=(method,),
        coefficients=given,
        epochs=epochs,
        batch_size=32,
        learning_rate=5e-3,
    )
    records = run(config, dataset, tmp_path)
    expected = list(predicted(config, dataset))
    assert [(r.stage, r.epoch, r.step) for r in records] == [
        (e["stage"], e["epoch"], e["step"]) for e in expected
    ]
    for record, e in zip(records, expected, strict=True):
        assert (record.train_loss is None) == (e["train_loss"] is None)
        if record.train_loss is not None:
            np.testing.assert_allclose(record.train_loss, e["train_loss"], rtol=1e-3)
        assert record.growth == pytest.approx(e["growth"], rel=5e-4)
        np.testing.assert_allclose(record.weight_growth, e["weight_growth"], rtol=5e-4)
        # Of 360 images or 200 units, one may be decided by rounding.
        for name in ("test_accuracy", "stream_accuracy", "dead_units"):
            np.testing.assert_allclose(getattr(record, name), e[name], atol=0.006)
        np.testing.assert_allclose(
            record.effective_rank, e["effective_rank"], rtol=2e-3
        )


def corrupted(dataset, kept):
    """The data set with all images and labels spoilt but some."""
    images, labels = 16 - dataset.train_images, (dataset.train_labels + 1) % 10
    images[kept], labels[kept] = dataset.train_images[kept], dataset.train_labels[kept]
    return Dataset(
        dataset.source, images, labels, dataset.test_images, dataset.test_labels
    )


@pytest.mark.parametrize(
    ("protocol", "stage"),
    [
        ("warm-start", 1),
        ("continual-full", 1),
        ("continual-full", 4),
        ("continual-limited", 1),
    ],
)
def test_no_stage_reads_what_is_not_its_own(protocol, stage, tmp_path):
    config = configured(protocol=protocol, epochs=1, batch_size=32)
    dataset = digits(300)
    kept = images_of_stage(protocol, 300, stage, 0)
    whole, spoilt = (
        numbers(run(config, data, tmp_path / name))
        for name, data in (("whole", dataset), ("spoilt", corrupted(dataset, kept)))
    )
    for k in range(1, PROTOCOLS[protocol].stages + 1):
        same = [r for r in whole if r.stage == k] == [r for r in spoilt if r.stage == k]
        assert same == (k <= stage)


def test_limited_access_reads_no_earlier_chunk(tmp_path):
    """The eighth stage's loss is of its own chunk, whatever network enters it."""
    config = configured(
        protocol="continual-limited",
        methods=("full_reset",),
        epochs=1,
        batch_size=512,
    )
    dataset = digits(300)
    # One step a stage from the initial parameters: its loss is of nothing else.
    whole = run(config, dataset, tmp_path / "whole")
    kept = images_of_stage("continual-limited", 300, 8, 0)
    spoilt = run(config, corrupted(dataset, kept), tmp_path / "spoilt")

    def losses(records):
        return np.array([r.train_loss for r in records if r.epoch == 1])

    np.testing.assert_array_equal(
        losses(whole) == losses(spoilt), np.arange(1, 11) == 8
    )


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory):
    config = configured(
        protocol="warm-start", methods=("swr", "full_reset", "scratch"), seeds=2
    )
    ticks = []
    folder = tmp_path_factory.mktemp("checkpoint")
    records = run(config, digits(), folder, ticks.append)
    return config, records, ticks


def test_records_are_in_the_order_of_methods_and_seeds(two_seeds):
    config, records, ticks = two_seeds
    assert [(r.method, r.seed, r.stage, r.epoch) for r in records] == [
        (method, seed, stage, epoch)
        for method in config.methods
        for seed in range(2)
        for stage, epoch in [(1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
        if method != "scratch" or (stage == 2 and epoch)
    ]
    ticked = [record for records in ticks for record in records]
    assert sorted(map(repr, ticked)) == sorted(map(repr, records))
    assert epochs_of(config) == sum(1 for record in records if record.epoch)
    for seed in range(2):
        seconds = [r.seconds for r in records if (r.method, r.seed) == ("swr", seed)]
        assert seconds == sorted(seconds)


def test_a_run_is_determined_by_its_configuration(two_seeds, tmp_path):
    """The same again; one seed alone or of several, in a thread each."""
    config, records, _ = two_seeds
    again = run(config, digits(), tmp_path / "again")
    assert numbers(again) == numbers(records)
    alone = run(dataclasses.replace(config, seeds=1), digits(), tmp_path / "alone")
    assert numbers(alone) == numbers(records, seed=0)
    added = dataclasses.replace(config, methods=("swr",), seeds=1, first_seed=1)
    second = run(added, digits(), tmp_path / "second")
    assert numbers(second) == numbers(records, method="swr", seed=1)


def test_seeds_differ(two_seeds):
    _, records, _ = two_seeds
    first, second = (numbers(records, method="swr", seed=seed) for seed in (0, 1))
    assert first[0].train_loss != second[0].train_loss


def test_lanes_of_many_are_as_each_alone(two_seeds, monkeypatch, tmp_path):
    """As on an accelerator; to rounding, since products of matrices are batched."""
    config, records, _ = two_seeds
    monkeypatch.setattr(
        "experiments.protocols.stage_loop.lanes", lambda members: [tuple(members)]
    )
    together = run(dataclasses.replace(config, methods=("swr",)), digits(), tmp_path)
    alones = numbers(records, method="swr")
    for one, alone in zip(together, alones, strict=True):
        assert (one.method, one.seed, one.stage, one.epoch, one.step) == (
            (alone.method, alone.seed, alone.stage, alone.epoch, alone.step)
        )
        assert one.growth == pytest.approx(alone.growth, rel=1e-4)
        if alone.epoch:
            assert one.train_loss == pytest.approx(alone.train_loss, rel=1e-4)
        assert one.test_accuracy == pytest.approx(alone.test_accuracy, abs=0.006)


def test_lanes_leave_the_cores_to_each_other(tmp_path):
    seen = []

    def tick(*_):
        seen.extend(
            library["num_threads"]
            for library in threadpoolctl.threadpool_info()
            if library["user_api"] == "blas"
        )

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        run(configured(protocol="single-task", epochs=1), digits(300), tmp_path, tick)
    assert set(seen) == {1}


def test_it_learns(tmp_path):
    config = configured(methods=("vanilla", "swr"), epochs=15)
    ends = [
        record
        for record in run(config, digits(), tmp_path)
        if (record.stage, record.epoch) == (2, 15)
    ]
    assert len(ends) == 2
    for record in ends:
        assert record.test_accuracy > 0.94
        assert 1 < record.weight_growth < 3


def test_balancedness_is_recorded_where_it_is_asked_for(two_seeds, tmp_path):
    _, records, _ = two_seeds
    assert {record.balancedness for record in records} == {None}
    config = configured(protocol="balancedness", methods=("swr",), epochs=1)
    (record,) = run(config, digits(300), tmp_path)
    assert 0.5 < record.balancedness < 1


def test_stopping_stops_the_lanes(tmp_path):
    seen = []

    def tick(*finished):
        seen.append(finished)
        raise KeyboardInterrupt

    config = configured(seeds=4, epochs=1000, methods=("swr",))
    with pytest.raises((KeyboardInterrupt, CancelledError)):
        run(config, digits(), tmp_path, tick)
    assert len(seen) <= 4

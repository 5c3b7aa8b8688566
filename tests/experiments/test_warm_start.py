"""The protocol on real digits."""

from concurrent.futures import CancelledError

import numpy as np
import pytest

from experiments.config import Config
from experiments.datasets import load_dataset
from experiments.methods import METHODS
from experiments.warm_start import Record, epochs_of, run_warm_start


def run(**fields):
    config = Config(**{"epochs": 2, "seeds": 1, **fields})
    ticks = []
    records = run_warm_start(
        config, load_dataset("digits"), lambda *tick: ticks.append(tick)
    )
    return config, records, ticks


def numbers(records, **fields):
    """Everything but the clock."""
    return [
        record._replace(seconds=0.0)
        for record in records
        if all(getattr(record, name) == value for name, value in fields.items())
    ]


@pytest.fixture(scope="module")
def everything():
    return run(seeds=2)


def test_every_method_trains_its_stages(everything):
    config, records, ticks = everything
    for method in METHODS:
        for seed in range(2):
            found = numbers(records, method=method, seed=seed)
            stages = [(record.stage, record.epoch) for record in found]
            first = [] if method == "scratch" else [(1, 1), (1, 2)]
            assert stages == [*first, (2, 1), (2, 2)]
            # 718 images in 3 batches, 1437 in 6.
            steps = [record.step for record in found]
            assert steps == ([6, 12] if method == "scratch" else [3, 6, 12, 18])
    assert len(records) == sum(seeds for _, seeds in ticks) == epochs_of(config)
    assert all(isinstance(record, Record) for record in records)


def test_methods_share_their_start(everything):
    """Until the data change, what acts only then is plain training."""
    _, records, _ = everything

    def first_stage(method):
        found = numbers(records, method=method, stage=1)
        return [record._replace(method="") for record in found]

    for method in ("shrink_and_perturb", "head_reset", "full_reset"):
        assert first_stage(method) == first_stage("vanilla")
    assert first_stage("swr") != first_stage("vanilla")


def test_what_acts_at_the_change_acts_there_only(everything):
    _, records, _ = everything

    def losses(method):
        found = numbers(records, method=method, stage=2, epoch=1)
        return np.array([record.train_loss for record in found])

    assert (losses("full_reset") > losses("head_reset")).all()
    assert (losses("head_reset") > losses("vanilla")).all()
    assert (losses("shrink_and_perturb") > losses("vanilla")).all()
    # A full reset starts where scratch does, but with Adam's moments of old.
    assert (np.abs(losses("full_reset") / losses("scratch") - 1) < 0.5).all()
    assert (losses("full_reset") != losses("scratch")).all()


def test_a_seed_is_the_same_alone_and_in_company(everything):
    _, records, _ = everything
    _, alone, _ = run(seeds=1, methods=("swr", "scratch"))
    for method in ("swr", "scratch"):
        assert numbers(alone, method=method) == numbers(records, method=method, seed=0)


def test_seeds_differ(everything):
    _, records, _ = everything
    first, second = (numbers(records, method="swr", seed=seed) for seed in (0, 1))
    assert first[0].train_loss != second[0].train_loss


def test_it_learns():
    _, records, _ = run(epochs=15, methods=("vanilla", "swr"))
    for record in records:
        if (record.stage, record.epoch) == (2, 15):
            assert record.test_accuracy > 0.94
            assert 1 < record.weight_growth < 3


def test_stopping_stops_the_lanes():
    seen = []

    def tick(*finished):
        seen.append(finished)
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, CancelledError)):
        run_warm_start(
            Config(seeds=4, epochs=1000, methods=("swr",)), load_dataset("digits"), tick
        )
    assert len(seen) <= 4

"""Runs of the real loop on real digits, short."""

import csv
import dataclasses
import functools

from experiments.data import Dataset, load_dataset
from experiments.protocols.config import Config
from experiments.protocols.stage_loop import run_protocol
from experiments.protocols.stream_loop import run_stream
from experiments.training.checkpoint import Checkpoints


def configured(**fields):
    """A short run; one seed of one method, unless fields say otherwise."""
    return Config(**{"methods": ("vanilla",), "epochs": 2, "seeds": 1, **fields})


def stream(protocol="random-labels", **fields):
    """A short stream; one seed of one method, unless fields say otherwise."""
    return configured(
        protocol=protocol, **{"tasks": 3, "train_images": 64, "batch_size": 16} | fields
    )


@functools.cache
def digits(train=None, side=8):
    """Scanned digits; with 16 pixels a side the convolutional networks fit."""
    dataset = load_dataset("digits").subset(train, None)
    times = side // 8
    train_images, test_images = (
        images.repeat(times, axis=1).repeat(times, axis=2)
        for images in (dataset.train_images, dataset.test_images)
    )
    return Dataset(
        dataset.source,
        train_images,
        dataset.train_labels,
        test_images,
        dataset.test_labels,
    )


def run(config, dataset, folder, tick=lambda *_: None, identity="a run", **engine):
    """The records of a run that saves what is unfinished in a folder."""
    loop = run_stream if config.is_stream else run_protocol
    return loop(config, dataset, tick, Checkpoints(folder, identity), **engine)


def numbers(records, **fields):
    """Everything but the clock, of records with these fields."""
    return [
        dataclasses.replace(record, seconds=0.0)
        for record in records
        if all(getattr(record, name) == value for name, value in fields.items())
    ]


def without_seconds(path):
    """A table that a run has written, but for the clock."""
    with path.open(newline="") as file:
        return [{**row, "seconds": None} for row in csv.DictReader(file)]

"""Event files as TensorBoard's own reader finds them."""

import dataclasses
import sys

import numpy as np
import pytest

from experiments.commands.tensorboard import EventFiles
from experiments.errors import UserError
from experiments.protocols.records import Record

FIRST = Record(
    protocol="balancedness",
    dataset="digits",
    model="mlp",
    method="swr",
    seed=0,
    stage=1,
    epoch=1,
    step=6,
    train_loss=1.5,
    test_accuracy=0.25,
    stream_accuracy=0.25,
    weight_growth=1.125,
    dead_units=None,
    effective_rank=17.5,
    seconds=0.5,
    growth={"Dense_0/kernel": 1.25, "Dense_1/kernel": 1.0},
    balancedness=0.75,
)
RECORDS = [
    dataclasses.replace(
        FIRST,
        method=method,
        seed=seed,
        epoch=epoch,
        step=6 * epoch,
        test_accuracy=0.25 + 0.125 * epoch + 0.0625 * seed,
    )
    for method in ("vanilla", "swr")
    for seed in (0, 1)
    for epoch in (1, 2, 3)
]
LABELS = {"protocol", "dataset", "model", "method", "seed", "stage", "epoch", "step"}


def read(folder):
    """{(method, seed folder): [(tag, step, value), ...]} of all files, in order."""
    from tensorflow.compat.v1.train import summary_iterator

    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            place = file.parent.relative_to(folder).parts
            found.setdefault(place, []).extend(
                (value.tag, event.step, value.simple_value)
                for event in summary_iterator(str(file))
                for value in event.summary.value
            )
    return found


def expected(records):
    """The same of records."""
    found = {}
    for record in records:
        place = (record.method, f"seed-{record.seed}")
        found.setdefault(place, []).extend(
            (name, record.step, float(np.float32(value)))
            for name, value in record.row().items()
            if name not in LABELS and value is not None
        )
    return found


def test_every_number_is_there_at_its_step(tmp_path):
    with EventFiles(tmp_path / "events") as events:
        for record in RECORDS:
            events.add([record])
    found = read(tmp_path / "events")
    assert found == expected(RECORDS)
    tags = {tag for tag, _, _ in found["swr", "seed-1"]}
    assert {"growth/Dense_0/kernel", "balancedness", "effective_rank"} <= tags
    assert "dead_units" not in tags


def test_a_run_that_goes_on_writes_nothing_twice(tmp_path):
    """Stopped after two epochs, it had saved one; it hands that over again."""
    with EventFiles(tmp_path) as events:
        events.add([record for record in RECORDS if record.epoch < 3])
    with EventFiles(tmp_path) as events:
        events.add([record for record in RECORDS if record.epoch == 1])
        for epoch in (2, 3):
            events.add([record for record in RECORDS if record.epoch == epoch])
    assert {place: sorted(values) for place, values in read(tmp_path).items()} == {
        place: sorted(values) for place, values in expected(RECORDS).items()
    }


def test_another_runs_events_go_and_what_is_not_ours_stays(tmp_path):
    with EventFiles(tmp_path) as events:
        events.add(RECORDS)
    own = tmp_path / "events.out.tfevents.of-the-user"
    own.write_text("")
    with EventFiles(tmp_path) as events:
        events.add(RECORDS[:1])
    assert own.is_file()
    own.unlink()
    assert read(tmp_path) == expected(RECORDS[:1])


def test_without_its_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match="pip install tensorboardX"):
        EventFiles(tmp_path / "events")
    assert not list(tmp_path.iterdir())

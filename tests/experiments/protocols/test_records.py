"""The table that holds a run."""

import csv

import pytest

from experiments.protocols.records import Record, write_rows


def record(**fields):
    return Record(
        **{
            "protocol": "warm-start",
            "dataset": "digits",
            "model": "mlp",
            "method": "swr",
            "seed": 1,
            "stage": 2,
            "epoch": 3,
            "step": 1234567,
            "train_loss": 0.123456789,
            "test_accuracy": 0.9,
            "stream_accuracy": 2 / 3,
            "weight_growth": 1.5e-9,
            "dead_units": 0.0,
            "effective_rank": 40.0,
            "seconds": 1e7,
            "growth": {"Dense_0/kernel": 1.25, "Dense_1/kernel": 2.5},
            **fields,
        }
    )


def test_what_is_written_is_read_again(tmp_path):
    rows = [record().row(), record(seed=2, test_accuracy=0.95).row()]
    write_rows(tmp_path / "metrics.csv", rows)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    for row, expected in zip(found, rows, strict=True):
        assert list(row) == list(expected)
        for name, value in expected.items():
            if isinstance(value, float):
                assert float(row[name]) == pytest.approx(value, rel=5e-6)
            else:
                assert row[name] == str(value)


def test_layers_and_balancedness_are_columns_behind_the_others():
    fixed = ["protocol", "dataset", "model", "method", "seed", "stage", "epoch", "step"]
    fixed += ["train_loss", "test_accuracy", "stream_accuracy", "weight_growth"]
    fixed += ["dead_units", "effective_rank", "seconds"]
    layers = ["growth/Dense_0/kernel", "growth/Dense_1/kernel"]
    assert list(record().row()) == fixed + layers
    row = record(balancedness=0.75).row()
    assert list(row) == [*fixed, *layers, "balancedness"]
    assert [row[name] for name in (*layers, "balancedness")] == [1.25, 2.5, 0.75]


def test_nothing_is_an_empty_cell(tmp_path):
    file = tmp_path / "metrics.csv"
    write_rows(file, [{"a": None, "b": 0.0}, {"b": None, "c": 1}])
    assert file.read_text().splitlines() == ["a,b,c", ",0,", ",,1"]

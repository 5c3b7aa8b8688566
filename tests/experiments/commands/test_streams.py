"""The command without a word behind it, as a user types it."""

import csv
import json
import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A short run in a fresh folder."""
    folder = tmp_path_factory.mktemp("fresh")
    lengths = ("--seeds", "1", "--tasks", "2", "--epochs", "1")
    methods = ("--methods", "vanilla", "swr_two")
    finished = subprocess.run(
        [sys.executable, "-m", "experiments", *lengths, *methods, "--tensorboard"],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished, folder / "runs" / "random-labels-digits-mlp"


def test_it_writes_its_folder(done):
    _, out = done
    assert {"config.json", "metrics.csv"} <= {path.name for path in out.iterdir()}
    assert not (out / "checkpoint").exists()
    for method in ("vanilla", "swr_two"):
        assert len(list((out / "tensorboard" / method / "seed-0").iterdir())) == 1
    config = json.loads((out / "config.json").read_text())
    assert (config["protocol"], config["tasks"], config["seeds"]) == (
        ("random-labels", 2, 1)
    )
    assert config["methods"] == ["vanilla", "swr_two"]
    assert set(config["coefficients"]) == {"swr_two"}
    with (out / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # 400 images in batches of 16.
    assert [(row["method"], row["task"], row["step"]) for row in rows] == [
        ("vanilla", "1", "25"),
        ("vanilla", "2", "50"),
        ("swr_two", "1", "25"),
        ("swr_two", "2", "50"),
    ]
    for row in rows:
        assert 0 < float(row["online_accuracy"]) < 1
        assert row["test_accuracy"] == ""
        assert float(row["growth/Dense_0/kernel"]) > 0


def test_a_log_has_a_line_for_each_method_and_no_flood(done):
    finished, _ = done
    lines = finished.stderr.splitlines()
    for label in ("vanilla", "SWR, two λ"):
        start = f"{label}: online accuracy 0."
        assert sum(line.startswith(start) for line in lines) == 1
    assert len(lines) <= 4
    assert "wrote runs/random-labels-digits-mlp/config.json" in finished.stdout
    # A table, a verdict and what was written.
    assert len(finished.stdout.splitlines()) <= 25

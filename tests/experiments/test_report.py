"""Table, figure and files of a run."""

import csv
import json

import numpy as np
from PIL import Image
import pytest
from rich.console import Console

from experiments.config import Config
from experiments.errors import UserError
from experiments.methods import METHODS
from experiments.report import COLORS, check_writable, summary_table, write_run
from experiments.warm_start import Record


def invented(config):
    """Records that make the table's numbers plain to see."""
    return [
        Record(
            protocol="warm-start",
            dataset="digits",
            model="mlp",
            method=method,
            seed=seed,
            stage=stage,
            epoch=epoch,
            step=10 * stage + epoch,
            train_loss=0.5,
            test_accuracy=0.9 + 0.01 * seed + 0.001 * epoch,
            weight_growth=2.0 + seed,
            seconds=1.0,
        )
        for method in config.methods
        for seed in range(config.seeds)
        for stage in ((1, 2) if METHODS[method].warm_start else (2,))
        for epoch in range(1, config.epochs + 1)
    ]


def printed(config):
    console = Console(width=100, record=True, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        console.print(summary_table(config, invented(config)))
    return capture.get()


def test_the_table_has_the_mean_and_deviation_of_final_values():
    text = printed(Config(methods=("scratch", "swr"), seeds=3, epochs=5))
    rows = {
        row.split("│")[1].strip(): [cell.strip() for cell in row.split("│")[2:-1]]
        for row in text.splitlines()
        if row.startswith("│")
    }
    # Accuracies .905 .915 .925, growths 2 3 4; deviations with n - 1.
    expected = ["0.9150 ± 0.0100", "3.00 ± 1.00"]
    assert rows == {"scratch": ["", *expected], "SWR": ["0.0001", *expected]}
    assert "5 epochs a phase, 3 seeds" in text


def test_a_single_seed_has_no_deviation():
    text = printed(Config(methods=("swr",), seeds=1, epochs=5))
    assert "±" not in text
    assert "1 seed\n" in text.replace(" \n", "\n").replace("  ", "")


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("epochs", [1, 20])
def test_a_run_leaves_its_files(tmp_path, seeds, epochs):
    config = Config(seeds=seeds, epochs=epochs)
    records = invented(config)
    files = write_run(tmp_path / "deep" / "run", config, records)
    assert sorted(p.name for p in (tmp_path / "deep" / "run").iterdir()) == [
        "config.json",
        "figure.png",
        "metrics.csv",
    ]
    assert json.loads(files[0].read_text())["epochs"] == epochs
    with files[1].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(records)
    assert tuple(rows[0]) == Record._fields
    assert [float(row["test_accuracy"]) for row in rows] == [
        pytest.approx(record.test_accuracy) for record in records
    ]
    with Image.open(files[2]) as image:
        assert min(image.size) > 500
        assert np.asarray(image).std() > 10


def test_nothing_half_written_is_left(tmp_path):
    config = Config(methods=("swr",), seeds=1, epochs=2)
    write_run(tmp_path, config, invented(config))
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    broken = [*invented(config)[:-1], ("not", "a", "record")]
    with pytest.raises(AttributeError):
        write_run(tmp_path, config, broken)
    assert set(kept) == {path.name for path in tmp_path.iterdir()}
    assert kept["figure.png"] == (tmp_path / "figure.png").read_bytes()


def test_a_folder_that_cannot_be_written_is_refused_before_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"cannot write to .*file/run: .*file: Not a directory"
    ):
        check_writable(tmp_path / "file" / "run")
    check_writable(tmp_path / "new" / "run")


def test_methods_have_colors_of_their_own():
    assert set(COLORS) == set(METHODS)
    assert len(set(COLORS.values())) == len(COLORS)

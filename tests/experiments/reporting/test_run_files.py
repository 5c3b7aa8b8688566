"""Table, figure and files of a run."""

import csv
import dataclasses
import json
import re

import numpy as np
import pandas as pd
from PIL import Image
import pytest
from rich.console import Console

from experiments.errors import UserError
from experiments.files import check_writable
from experiments.methods import METHODS
from experiments.methods.coefficients import in_words
from experiments.protocols.config import Config
from experiments.protocols.records import Record
from experiments.reporting.run_files import (
    proportionality_table,
    summary_table,
    tasks_table,
    write_run,
)
from experiments.reporting.runs import read_run


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
            stream_accuracy=0.9,
            dead_units=None,
            effective_rank=12.5,
            growth={"Dense_0/kernel": 2.0},
            weight_growth=2.0 + seed,
            seconds=1.0,
        )
        for method in config.methods
        for seed in range(config.seeds)
        for stage in ((2,) if METHODS[method].last_stage_only else (1, 2))
        for epoch in range(1, config.epochs + 1)
    ]


def printed(config):
    console = Console(width=100, record=True, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        frame = pd.DataFrame([record.row() for record in invented(config)])
        console.print(summary_table(config, frame))
    return capture.get()


def test_the_table_has_the_mean_and_deviation_of_final_values():
    text = printed(Config(methods=("scratch", "swr"), seeds=3, epochs=5))
    rows = {
        row.split("│")[1].strip(): [cell.strip() for cell in row.split("│")[2:-1]]
        for row in text.splitlines()
        if row.startswith("│") and "method" not in row
    }
    # Accuracies .905 .915 .925, growths 2 3 4; deviations with n - 1. Over the last
    # epochs, of which there are five, the mean is .002 lower.
    expected = ["0.9130 ± 0.0100", "0.9150 ± 0.0100", "3.00 ± 1.00"]
    assert rows == {"scratch": ["–", *expected], "SWR": ["0.0001", *expected]}
    assert "5 epochs a stage, 3 seeds, profile custom" in " ".join(text.split())


def test_a_single_seed_has_no_deviation():
    text = printed(Config(methods=("swr",), seeds=1, epochs=5))
    assert "±" not in text
    assert "1 seed, profile" in " ".join(text.split())


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("epochs", [1, 20])
def test_a_run_leaves_its_files(tmp_path, seeds, epochs):
    config = Config(seeds=seeds, epochs=epochs)
    records = invented(config)
    files = write_run(tmp_path / "deep" / "run", config, [r.row() for r in records])
    assert sorted(p.name for p in (tmp_path / "deep" / "run").iterdir()) == [
        "config.json",
        "figure.png",
        "metrics.csv",
    ]
    assert json.loads(files[0].read_text())["epochs"] == epochs
    with files[1].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(records)
    assert list(rows[0]) == list(records[0].row())
    assert [float(row["test_accuracy"]) for row in rows] == [
        pytest.approx(record.test_accuracy) for record in records
    ]
    with Image.open(files[2]) as image:
        assert min(image.size) > 500
        assert np.asarray(image).std() > 10


def test_nothing_half_written_is_left(tmp_path):
    config = Config(methods=("swr",), seeds=1, epochs=2)
    rows = [record.row() for record in invented(config)]
    write_run(tmp_path, config, rows)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    broken = [*rows[:-1], ("not", "a", "row")]
    with pytest.raises(AttributeError):
        write_run(tmp_path, config, broken)
    assert set(kept) == {path.name for path in tmp_path.iterdir()}
    assert kept["figure.png"] == (tmp_path / "figure.png").read_bytes()


def test_a_folder_that_cannot_be_written_is_refused_before_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*file/run: Not a directory"):
        check_writable(tmp_path / "file" / "run")
    check_writable(tmp_path / "new" / "run")


def test_a_stream_fits_a_terminal(write_folder, tmp_path):
    methods = ["fresh", "vanilla", "shrink_and_perturb", "swr_two"]
    folder = write_folder(
        tmp_path / "run", protocol="random-labels", methods=methods, tasks=20, seeds=3
    )
    frame = pd.read_csv(folder / "metrics.csv")
    coefficients = {"swr_two": {"feature": 1e-3, "classifier": 1e-4}}
    console = Console(width=80)
    with console.capture() as capture:
        console.print(tasks_table(frame, coefficients))
    text = capture.get()
    assert "Random labels, mnist, mlp: 20 tasks, 3 seeds" in text
    assert "…" not in text
    (plain,) = [line for line in text.splitlines() if "vanilla" in line]
    mine = frame[frame["method"] == "vanilla"]
    seeds = mine.groupby("seed")["online_accuracy"].mean()
    half = 4.3027 * seeds.std() / np.sqrt(3)  # Student's t of two degrees of freedom.
    first, last = mine[mine["task"] <= 4], mine[mine["task"] > 16]
    expected = [
        f"{first['online_accuracy'].mean():.3f}",
        f"{last['online_accuracy'].mean():.3f}",
        f"{seeds.mean():.3f} ± {half:.3f}",
        f"{last['end_accuracy'].mean():.3f}",
        f"{last[last['task'] == 20]['dead_units'].mean():.2f}",
        f"{last[last['task'] == 20]['weight_growth'].mean():.2f}",
    ]
    assert [cell.strip() for cell in plain.split("│")[3:-1]] == expected


@pytest.mark.parametrize("ended", [True, False])
def test_a_table_of_tasks_promises_no_column_that_it_has_not(
    write_folder, tmp_path, ended
):
    folder = write_folder(tmp_path / "run", protocol="random-labels", seeds=2)
    frame = pd.read_csv(folder / "metrics.csv")
    table = tasks_table(frame if ended else frame.assign(end_accuracy=np.nan), {})
    assert ("at a task's end" in table.heading) == ended
    assert ("end" in table.table.header) == ended


def test_balancedness_is_in_its_table(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", protocol="balancedness", seeds=2)
    frame = pd.read_csv(folder / "metrics.csv")
    config = Config(protocol="balancedness", methods=("vanilla", "swr"), seeds=2)
    table = summary_table(config, frame).table
    last = frame[(frame["method"] == "swr") & (frame["epoch"] == frame["epoch"].max())]
    (row,) = [row for row in table.rows if row[0] == "SWR"]
    found = row[table.header.index("balancedness")]
    assert found == f"{last['balancedness'].mean():.4f}"
    frame["protocol"] = "single-task"
    config = dataclasses.replace(config, protocol="single-task")
    table = summary_table(config, frame.drop(columns="balancedness")).table
    assert "balancedness" not in table.header


def test_proportionality_fits_a_terminal(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", protocol="proportionality", seeds=2)
    frame = pd.read_csv(folder / "metrics.csv")
    rows = frame[frame["method"] == "vanilla"]
    config = Config(protocol="proportionality", methods=("vanilla",), seeds=2)
    console = Console(width=80)
    with console.capture() as capture:
        console.print(proportionality_table(config, rows))
    text = capture.get()
    assert "…" not in text
    numbers = [line.split("│")[1:-1] for line in text.splitlines() if "│" in line]
    assert [cell.strip() for cell in numbers[1]] == [
        *("0.1", "0.6510 ± 0.0014", "0.6610 ± 0.0014"),
        *("0.5510 ± 0.0014", "0.5610 ± 0.0014"),
    ]


@pytest.mark.parametrize("width", [40, 60])
@pytest.mark.parametrize("protocol", ["random-labels", "proportionality"])
def test_no_digit_is_cut_where_there_is_little_room(
    write_folder, tmp_path, protocol, width
):
    folder = write_folder(tmp_path / "run", protocol=protocol, seeds=2)
    frame = pd.read_csv(folder / "metrics.csv")
    config = Config(protocol="proportionality", methods=("vanilla",), seeds=2)
    if protocol == "proportionality":
        frame = frame[frame["method"] == "vanilla"]
        table = proportionality_table(config, frame)
    else:
        table = tasks_table(frame, {"swr": 1e-3})
    texts = []
    for columns in (width, 80):
        console = Console(width=columns)
        with console.capture() as capture:
            console.print(table)
        texts.append(capture.get())
    narrow, wide = texts
    assert max(map(len, narrow.splitlines())) <= width
    assert "…" not in narrow
    numbers = [re.findall(r"\d+\.\d+(?: ± \d+\.\d+)?", text) for text in texts]
    assert numbers[0] == numbers[1]
    assert len(numbers[1]) > 10
    assert wide.count("│") > 10


def test_a_run_reads_back(tmp_path):
    config = Config(methods=("scratch", "swr"), seeds=2, epochs=3)
    records = invented(config)
    write_run(tmp_path, config, [record.row() for record in records])
    run = read_run(tmp_path)
    assert run.methods == list(config.methods)
    assert run.stages == 2
    assert run.entry("swr") == ("swr", in_words(config.coefficient("swr")), "0.001")
    assert run.rows["finished"].all()
    rows = run.rows.set_index(["method", "seed", "stage", "epoch"])
    for record in records:
        row = rows.loc[(record.method, record.seed, record.stage, record.epoch)]
        for name in ("step", "test_accuracy", "weight_growth", "effective_rank"):
            np.testing.assert_allclose(row[name], getattr(record, name), rtol=1e-5)
        assert np.isnan(row["dead_units"])
        assert row["growth/Dense_0/kernel"] == 2.0


def test_coefficients_in_words():
    assert in_words(None) == ""
    assert in_words(1e-4) == "0.0001"
    assert (
        in_words({"feature": 1e-4, "classifier": 1}) == "feature 0.0001, classifier 1"
    )

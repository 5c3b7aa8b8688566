"""The numbers that a report gives."""

import numpy as np
import pytest

from experiments.reporting import tables
from experiments.reporting.cells import gather
from experiments.reporting.runs import read_run


def cells_of(folder):
    return gather([read_run(folder)]).cells


def as_dicts(table):
    return {
        row[0]: dict(zip(table.header, row, strict=True))
        for _, rows in table.groups
        for row in rows
    }


@pytest.fixture
def known(write_folder, tmp_path):
    """Final accuracies of vanilla .96 .97 .98, in a table with the paper's."""
    folder = write_folder(tmp_path / "run", seeds=3, profile="paper")
    lines = (folder / "metrics.csv").read_text().splitlines()
    for i, line in enumerate(lines):
        cells = line.split(",")
        if cells[3] == "vanilla" and cells[6] == "4":
            cells[9] = f"{0.96 + 0.01 * int(cells[4]):.2f}"
            cells[11] = f"{1 + int(cells[4])}"
            lines[i] = ",".join(cells)
    (folder / "metrics.csv").write_text("\n".join(lines))
    return folder


def test_results_stand_beside_the_papers(known):
    row = as_dicts(tables.results("single-task", cells_of(known)))["vanilla"]
    assert row["test accuracy"] == "0.9700 ± 0.0100"
    assert row["95 % interval"] == "0.9600 to 0.9800"
    assert row["paper"] == "0.9789 ± 0.0009"
    assert row["difference"] == "−0.0089"
    assert row["weight growth"] == "2.00 ± 1.00"
    assert row["λ"] == "–"
    assert row["dead units"] == "0.05"
    assert row["effective rank"] == "40.5"
    size = ("seeds", "epochs of a stage", "profile", "training images")
    assert [row[name] for name in size] == ["3", "4", "paper", "all"]


def test_one_seed_has_neither_deviation_nor_interval(write_folder, tmp_path):
    cells = cells_of(write_folder(tmp_path / "run", seeds=1, dataset="digits"))
    table = tables.results("single-task", cells)
    row = as_dicts(table)["SWR"]
    assert "±" not in row["test accuracy"]
    # Columns that nobody filled are left out.
    assert not {"95 % interval", "paper", "difference", "balancedness"} & set(row)


def test_unfinished_seeds_are_counted(write_folder, tmp_path):
    cells = cells_of(write_folder(tmp_path / "run", finished=3, seeds=2))
    row = as_dicts(tables.results("single-task", cells))["SWR"]
    assert row["seeds"] == "0 of 2"
    assert row["test accuracy"] == "–"


def test_what_changes_lose_is_in_points(write_folder, tmp_path):
    folder = write_folder(
        tmp_path / "run",
        protocol="continual-limited",
        methods=["scratch", "vanilla", "full_reset"],
        seeds=2,
    )
    cells = cells_of(folder)
    rows = as_dicts(tables.retention("continual-limited", cells))
    found = cells[2].retention()
    lost = 100 * np.mean(found["at"] - found["before"])
    assert lost < -60
    assert rows["full reset"]["right at the change"] == f"−{-lost:.2f}"
    assert float(rows["vanilla"]["last accuracy before"]) > 0.8


def test_only_protocols_with_changes_have_their_table(write_folder, tmp_path):
    cells = cells_of(write_folder(tmp_path / "run"))
    assert len(tables.of_protocol("single-task", cells)) == 1


def test_proportionality_has_a_row_for_each_ratio(write_folder, tmp_path):
    folder = write_folder(
        tmp_path / "run", protocol="proportionality", seeds=2, methods=["vanilla"]
    )
    (table,) = tables.of_protocol("proportionality", cells_of(folder))
    rows = as_dicts(table)
    assert list(rows) == ["0.01", "0.1", "0.5", "1", "2", "10"]
    assert rows["0.1"]["at once, biases kept"] == "0.5510 ± 0.0014"
    assert rows["10"]["best of 50, biases rescaled"] == "0.6610 ± 0.0014"
    assert rows["10"]["profile"] == "quick"


def test_runs_are_listed(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", written=1e9, train_images=1000)
    (row,) = as_dicts(tables.runs(gather([read_run(folder)]))).values()
    assert list(row.values()) == [
        str(folder),
        "Single task",
        "mnist, mlp",
        *("2", "5", "4", "quick", "1000", "test data", "2001-09-09 01:46 UTC"),
    ]

"""What is made of the rows of runs."""

import numpy as np
import pytest

from experiments.reporting.cells import Cell, by_setting, gather, label
from experiments.reporting.runs import read_run


def rewrite(folder, change):
    """Applies a function to the table's lines behind the header."""
    path = folder / "metrics.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *change(rows)]) + "\n")
    return read_run(folder)


def test_final_values_are_those_of_the_last_epoch(write_folder, tmp_path):
    run = read_run(
        write_folder(tmp_path / "run", protocol="continual-full", seeds=2, epochs=3)
    )
    cell = Cell(run, "swr")
    last = (
        (run.columns["method"] == "swr")
        & (run.columns["stage"] == 10)
        & (run.columns["epoch"] == 3)
    )
    assert cell.finished == (0, 1)
    assert cell.final("test_accuracy").tolist() == (
        run.columns["test_accuracy"][last].tolist()
    )
    assert not len(cell.final("sharpness"))


def test_seeds_that_did_not_finish_do_not_count(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", seeds=3, epochs=4, methods=["swr"])
    run = rewrite(folder, lambda rows: rows[:-1])
    assert Cell(run, "swr").finished == (0, 1)
    assert len(Cell(run, "swr").final("test_accuracy")) == 2
    assert Cell(run, "swr").curve("test_accuracy")[1].shape == (2, 4)
    nothing = Cell(run, "vanilla")
    assert nothing.finished == ()
    assert not len(nothing.final("test_accuracy"))
    assert nothing.curve("test_accuracy")[1].size == 0


def test_scratch_has_the_last_stage_alone(write_folder, tmp_path):
    run = read_run(
        write_folder(tmp_path / "run", protocol="warm-start", methods=["scratch"])
    )
    cell = Cell(run, "scratch")
    assert cell.finished == (0, 1, 2, 3, 4)
    assert cell.curve("test_accuracy")[0].tolist() == [5, 6, 7, 8]
    assert np.isnan(cell.retention()["at"]).all()


def test_curves_keep_to_what_all_seeds_have(write_folder, tmp_path):
    """A row that one seed lacks must not shift its later ones."""
    folder = write_folder(
        tmp_path / "run", protocol="warm-start", seeds=2, epochs=3, methods=["swr"]
    )
    whole = Cell(read_run(folder), "swr")
    run = rewrite(folder, lambda rows: [r for r in rows if ",swr,1,2,0," not in r])
    epochs, values = Cell(run, "swr").curve("test_accuracy")
    assert epochs.tolist() == [1, 2, 3, 4, 5, 6]
    expected = np.delete(whole.curve("test_accuracy")[1], 3, axis=1)
    np.testing.assert_array_equal(values, expected)
    assert whole.curve("test_accuracy")[0].tolist() == [1, 2, 3, 3, 4, 5, 6]


def test_an_unfinished_run_is_drawn_as_far_as_it_came(write_folder, tmp_path):
    run = read_run(write_folder(tmp_path / "run", finished=2, seeds=3))
    epochs, values = Cell(run, "swr").curve("test_accuracy")
    assert epochs.tolist() == [1, 2]
    assert values.shape == (3, 2)


def test_retention_compares_both_sides_of_a_change(write_folder, tmp_path):
    folder = write_folder(
        tmp_path / "run", protocol="warm-start", seeds=1, epochs=2, methods=["swr"]
    )
    accuracy = iter([0.5, 0.8, 0.3, 0.6, 0.9])

    def number(row):
        cells = row.split(",")
        cells[9] = str(next(accuracy))
        return ",".join(cells)

    run = rewrite(folder, lambda rows: [number(row) for row in rows])
    found = Cell(run, "swr").retention()
    assert {name: values.tolist() for name, values in found.items()} == {
        "before": [[0.8]],
        "at": [[0.3]],
        "after": [[0.6]],
    }


def test_proportionality_is_sorted_by_ratio(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", protocol="proportionality", seeds=2)
    cell = Cell(read_run(folder), "swr")
    found = cell.rescaled()
    assert found.ratios == [0.01, 0.1, 0.5, 1.0, 2.0, 10.0]
    assert found.whens == ["at once", "best of 50"]
    assert found.accuracy(0.1, "kept", "at once").tolist() == pytest.approx(
        [0.55, 0.552]
    )
    assert not len(found.accuracy(3.0, "kept", "at once"))
    run = rewrite(folder, lambda rows: rows[:-1])
    assert Cell(run, "swr").finished == (0,)


def test_the_newer_of_two_runs_is_shown(write_folder, tmp_path):
    new = read_run(write_folder(tmp_path / "new", written=2e9, methods=["swr", "l2"]))
    old = read_run(write_folder(tmp_path / "old", written=1e9))
    other = read_run(write_folder(tmp_path / "other", written=1e9, epochs=5))
    for runs in ([new, old, other], [other, old, new]):
        gathered = gather(runs)
        assert [(cell.method, cell.run) for cell in gathered.cells] == [
            ("vanilla", old),
            ("l2", new),
            ("swr", new),
            ("vanilla", other),
            ("swr", other),
        ]
        (pair,) = gathered.replaced
        assert [(cell.method, cell.run) for cell in pair] == [
            ("swr", old),
            ("swr", new),
        ]
        assert [len(cells) for cells in by_setting(gathered.cells).values()] == [3, 2]


@pytest.mark.parametrize(
    "fields",
    [{"profile": "paper"}, {"train_images": 9}, {"coefficients": {"swr": 1e-2}}],
)
def test_what_differs_is_shown_beside(write_folder, tmp_path, fields):
    runs = [
        read_run(write_folder(tmp_path / name, methods=["swr"], **options))
        for name, options in (("one", {}), ("two", fields))
    ]
    gathered = gather(runs)
    assert len(gathered.cells) == 2
    assert not gathered.replaced


def test_labels():
    assert label("vanilla") == "vanilla"
    assert label("swr") == "SWR"
    assert label("my_method") == "my_method"

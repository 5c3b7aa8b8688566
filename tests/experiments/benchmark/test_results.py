"""What was measured is printed and written, and drawn where it belongs."""

import pandas as pd
import pytest

from experiments.benchmark.figure import draw
from experiments.benchmark.in_turn import Row
from experiments.benchmark.results import tables, write_benchmark


def row(layers, parameters, way, ratio, piece="optimizer"):
    compiled = {"compile_seconds": 0.5, "compile_ratio": 1.25, "memory_ratio": 1.5}
    return Row(
        piece=piece,
        case=f"{layers} layers, {parameters}",
        layers=layers,
        leaves=2 * layers,
        parameters=parameters,
        way=way,
        seconds=2e-3,
        ratio=ratio,
        ratio_low=ratio - 0.1,
        ratio_high=ratio + 0.1,
        rounds=3,
        **({} if piece == "training" or "PyTorch" in way else compiled),
    )


ROWS = [
    row(3, 30_000, "Adam", 1.0),
    row(3, 30_000, "Adam + SWR", 1.1),
    row(3, 1_000_500, "Adam + SWR", 1.2),
    row(3, 1_000_500, "PyTorch: fused Adam", 2.5),
    row(1000, 992_000, "Adam + SWR", 1.4),
    row(3, 90_000, "Adam + SWR", 1.01, "training"),
]


def test_there_is_a_table_for_each_piece():
    step, compilation, training = tables(ROWS)
    # Names of cases have rows as well.
    assert (step.row_count, compilation.row_count, training.row_count) == (8, 7, 2)
    assert list(step.columns[2].cells)[1:3] == ["1.000", "1.100"]
    assert list(compilation.columns[3].cells)[1] == "1.500"
    assert [table.title for table in tables(ROWS[-1:])] == ["training steps"]


def test_everything_is_written(tmp_path):
    rows = [row for row in ROWS if "PyTorch" not in row.way]
    files = write_benchmark(tmp_path, rows)
    assert [path.name for path in files] == ["benchmark.csv", "benchmark.png"]
    frame = pd.read_csv(files[0])
    assert list(frame["ratio"]) == [row.ratio for row in rows]
    assert frame[["device", "jax"]].notna().all(axis=None)
    assert "torch" not in frame


def test_training_steps_alone_have_no_figure(tmp_path):
    assert [path.name for path in write_benchmark(tmp_path, ROWS[-1:])] == [
        "benchmark.csv"
    ]


def test_pytorchs_version_is_written_with_its_rows(tmp_path):
    pytest.importorskip("torch")
    csv, _ = write_benchmark(tmp_path, ROWS)
    assert pd.read_csv(csv)["torch"].notna().all()


def test_one_panel_goes_by_parameters_and_one_by_layers():
    few, more = draw(pd.DataFrame(ROWS[:-1])).axes
    found = [
        {line.get_label(): list(line.get_xdata()) for line in axes.lines}
        for axes in (few, more)
    ]
    torch = "PyTorch: fused Adam"
    assert found == [
        {"Adam": [30_000], "Adam + SWR": [30_000, 1_000_500], torch: [1_000_500]},
        {"Adam + SWR": [3, 1000], torch: [3]},
    ]
    swr = next(line for line in more.lines if line.get_label() == "Adam + SWR")
    assert list(swr.get_ydata()) == pytest.approx([1.2, 1.4])

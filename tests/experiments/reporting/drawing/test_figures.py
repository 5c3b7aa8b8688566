"""The page's figures: valid, short, and of the right numbers."""

import json

import numpy as np
import plotly.graph_objects as go
import pytest

from experiments.methods import METHODS
from experiments.reporting.collection import collect
from experiments.reporting.drawing import figures
from experiments.reporting.drawing.curves import curve, on_dark, retention
from experiments.reporting.ranking import ranking


def rows_of(*folders):
    return collect(folders).rows


@pytest.fixture
def stream(write_folder, tmp_path):
    fields = {"protocol": "random-labels", "tasks": 12}
    return rows_of(write_folder(tmp_path / "run", **fields))


def test_scores_have_their_intervals(stream):
    table = ranking(stream)
    spec = figures.scores(table, "random-labels")
    drawn = go.Figure(spec)
    for trace, row in zip(drawn.data, table.itertuples(), strict=True):
        assert trace.y == (row.name,)
        assert trace.x[0] == pytest.approx(row.score, rel=1e-4)
        assert trace.error_x.array[0] == pytest.approx(row.high - row.score, rel=1e-4)
    assert figures.scores(table.head(1), "random-labels") is None


def test_curves_have_all_that_was_measured(stream):
    spec = figures.curves(stream)
    assert (spec["unit"], spec["changes"], spec["ranges"]) == ("task", [], {})
    keys = [metric["key"] for metric in spec["metrics"]]
    assert keys[:2] == ["online_accuracy", "end_accuracy"]
    assert {"gradient_norm", "dead_units", "growth/Dense_0/kernel"} <= set(keys)
    assert "test_accuracy" not in keys
    assert [line["name"] for line in spec["lines"]] == ["vanilla", "SWR"]
    found = spec["lines"][1]["data"]["online_accuracy"]
    for place, window in enumerate(spec["windows"]):
        line = curve(stream[stream["method"] == "swr"], "online_accuracy", window)
        np.testing.assert_allclose(found["mean"][place], line["mean"], rtol=1e-4)
        np.testing.assert_allclose(
            found["deviation"][place], line["deviation"], rtol=1e-4
        )
    json.dumps(spec, allow_nan=False)


def test_one_seed_has_no_deviation(write_folder, tmp_path):
    rows = rows_of(write_folder(tmp_path / "run", seeds=1))
    found = figures.curves(rows)["lines"][0]["data"]["test_accuracy"]
    assert set(found["deviation"][0]) == {None}


def test_stages_have_changes_and_a_range(write_folder, tmp_path):
    rows = rows_of(write_folder(tmp_path / "run", protocol="warm-start", epochs=50))
    spec = figures.curves(rows)
    assert (spec["unit"], spec["changes"]) == ("epoch", [50])
    low, high = spec["ranges"]["test_accuracy"]
    assert rows["test_accuracy"].min() < low < rows["test_accuracy"].median()
    assert high > rows["test_accuracy"].max()
    assert spec["metrics"][0]["key"] == "test_accuracy"


def test_what_is_lost_is_drawn_by_change(write_folder, tmp_path):
    fields = {"protocol": "continual-limited", "methods": ["vanilla", "full_reset"]}
    rows = rows_of(write_folder(tmp_path / "run", seeds=2, **fields))
    drawn = go.Figure(figures.lost(rows))
    # For each method and moment: nine changes, then their mean.
    assert [len(trace.x) for trace in drawn.data] == [9, 1] * 4
    found = retention(rows[rows["method"] == "full_reset"])
    expected = 100 * np.mean(found["at"] - found["before"])
    assert drawn.data[3].customdata[0] == pytest.approx(expected, rel=1e-4)
    # Logarithmic beyond one point.
    assert drawn.data[3].x[0] == pytest.approx(-np.log10(1 - expected), rel=1e-4)
    assert figures.lost(rows[rows["stage"] == 1]) is None


def test_proportionality_has_a_figure_for_each_time(write_folder, tmp_path):
    fields = {"protocol": "proportionality", "methods": ["vanilla"]}
    rows = rows_of(write_folder(tmp_path / "run", **fields))
    found = figures.proportionality(rows)
    assert [when for when, _ in found] == ["at once", "best of 50"]
    rescaled, kept = go.Figure(found[0][1]).data
    assert rescaled.name == "vanilla, biases rescaled"
    assert np.ptp(rescaled.y) < 1e-6
    assert np.ptp(kept.y) == pytest.approx(0.2)
    assert figures.proportionality(rows.assign(finished=False)) == []


def test_nothing_is_drawn_from_nothing(write_folder, tmp_path):
    rows = rows_of(write_folder(tmp_path / "run"))
    unmeasured = rows[["protocol", "method", "coefficient", "rate", "seed", "name"]]
    places = rows[["stage", "epoch", "epochs", "finished"]]
    empty = unmeasured.join(places).assign(test_accuracy=np.nan)
    assert figures.curves(empty) is None
    assert figures.lost(rows) is None


def test_names_are_no_markup(write_folder, tmp_path):
    """Plotly would make links and bold type of them."""
    name = '<a href="https://example.org">x</a>'
    rows = rows_of(write_folder(tmp_path / "run", methods=[name, "swr"]))
    specs = [figures.curves(rows), figures.scores(ranking(rows), "single-task")]
    text = json.dumps(specs)
    assert "<a" not in text
    assert "&lt;a href=" in text


def test_every_color_has_one_for_dark_pages(stream):
    specs = [figures.curves(stream), figures.scores(ranking(stream), "random-labels")]
    assert figures.dark_colors(specs) == {
        color: on_dark(color) for color in ("#7a7a7a", "#d55e00")
    }


def test_its_size_is_bounded(write_folder, tmp_path):
    """As many numbers as of the paper's longest run."""
    methods = [name for name in METHODS if name != "scratch"][:6]
    fields = {"protocol": "continual-full", "methods": methods, "epochs": 100}
    rows = rows_of(write_folder(tmp_path / "run", seeds=1, **fields))
    assert len(json.dumps(figures.curves(rows))) < 600_000

"""The figure of a run's folder: what is drawn, from what, and named where."""

import io
import itertools

import numpy as np
import pytest

from experiments.reporting.collection import collect
from experiments.reporting.drawing import figures, plots
from experiments.reporting.drawing.curves import curve


def rows_of(folder):
    return collect([folder]).rows


def named(axes):
    return [text.get_text() for text in axes.texts]


def test_a_stream_is_drawn_by_task_with_names_beside_it(write_folder, tmp_path):
    methods = ["fresh", "vanilla", "swr"]
    fields = {"protocol": "random-labels", "methods": methods, "tasks": 12}
    rows = rows_of(write_folder(tmp_path / "run", **fields))
    (axes,) = plots.draw(rows).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("task", "online accuracy")
    by_end = sorted(named(axes))
    assert by_end == ["SWR", "fresh network", "vanilla"]
    # Three lines and their bands; a name has a leader and a piece of its line.
    assert len(axes.collections) == 3
    assert len(axes.lines) == 3 + 2 * 3
    colors = [line.get_color() for line in axes.lines]
    vanilla = axes.lines[colors.index("#7a7a7a")]
    expected = curve(rows[rows["method"] == "vanilla"], "online_accuracy")
    np.testing.assert_allclose(vanilla.get_ydata(), expected["mean"])
    assert all(text.get_position()[0] > 1 for text in axes.texts)
    fresh = axes.lines[colors.index("#000000")]
    assert fresh.get_linestyle() == "--"


def test_one_task_has_points_side_by_side(write_folder, tmp_path):
    methods = ["fresh", "vanilla", "swr"]
    fields = {"protocol": "random-labels", "methods": methods, "tasks": 1}
    rows = rows_of(write_folder(tmp_path / "run", **fields))
    (axes,) = plots.draw(rows).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1"]
    assert sorted(named(axes)) == ["SWR", "fresh network", "vanilla"]
    points = [bars.lines[0].get_xydata()[0] for bars in axes.containers]
    places, means = zip(*sorted(map(tuple, points)), strict=True)
    np.testing.assert_allclose(np.diff(places), 1 / 3)
    expected = rows.groupby("method", sort=False)["online_accuracy"].mean()
    np.testing.assert_allclose(sorted(means), sorted(expected))
    assert all(len(bars.lines[2]) for bars in axes.containers)  # Deviations.


def test_names_do_not_run_into_each_other(write_folder, tmp_path):
    methods = ["fresh", "vanilla", *(f"remedy_{i}" for i in range(18))]
    fields = {"protocol": "random-labels", "methods": methods, "seeds": 2}
    figure = plots.draw(rows_of(write_folder(tmp_path / "run", **fields)))
    (axes,) = figure.axes
    figure.savefig(io.BytesIO())
    boxes = sorted((t.get_window_extent() for t in axes.texts), key=lambda box: box.y0)
    assert len(boxes) == 20
    overlaps = [low.y1 - high.y0 for low, high in itertools.pairwise(boxes)]
    assert max(overlaps) < 2  # Pixels, of the space above and below letters.
    assert max(box.x1 for box in boxes) <= figure.bbox.x1
    assert not axes.collections  # So many bands would hide each other.


def test_stages_mark_changes_of_data(write_folder, tmp_path):
    fields = {"protocol": "warm-start", "methods": ["scratch", "swr"]}
    (axes,) = plots.draw(rows_of(write_folder(tmp_path / "run", **fields))).axes
    scratch, swr, change = axes.lines[:3]
    assert scratch.get_xdata().tolist() == [5, 6, 7, 8]
    assert swr.get_xdata().tolist() == [1, 2, 3, 4, 4, 5, 6, 7, 8]
    assert change.get_xdata() == [4, 4]


def test_bands_are_within_sight(write_folder, tmp_path):
    """Also where seeds differ by much more than methods."""
    rows = rows_of(write_folder(tmp_path / "run", seeds=2, epochs=50))
    rows["test_accuracy"] -= 0.4 * rows["seed"]
    low, high = plots.draw(rows).axes[0].get_ylim()
    for _, of_method in rows.groupby("method"):
        line = curve(of_method, "test_accuracy").tail(10)
        assert low < min(line["mean"] - line["deviation"])
        assert max(line["mean"] + line["deviation"]) < high


def test_no_axis_shows_accuracies_above_one(write_folder, tmp_path):
    """Where a seed falls for an epoch, its band's end is above 1."""
    rows = rows_of(write_folder(tmp_path / "run", epochs=50))
    rows["test_accuracy"] = 0.98
    rows.loc[(rows["epoch"] == 40) & (rows["seed"] == 0), "test_accuracy"] = 0.1
    low, high = plots.draw(rows).axes[0].get_ylim()
    assert 0.9 < low < 0.98 < high <= 1


@pytest.mark.parametrize(("method", "seen"), [("vanilla", True), ("full_reset", False)])
def test_what_a_change_of_data_costs_is_within_sight(
    write_folder, tmp_path, method, seen
):
    """Unless the method begins anew there, which would squeeze all else."""
    fields = {"protocol": "continual-limited", "methods": [method], "epochs": 50}
    rows = rows_of(write_folder(tmp_path / "run", **fields))
    rows["test_accuracy"] = 0.6
    rows.loc[(rows["stage"] == 8) & (rows["epoch"] == 1), "test_accuracy"] = 0.2
    low, _ = plots.draw(rows).axes[0].get_ylim()
    assert (low < 0.2) == seen
    assert figures.curves(rows)["ranges"]["test_accuracy"][0] == pytest.approx(low)


def test_balancedness_and_proportionality_have_two_panels(write_folder, tmp_path):
    rows = rows_of(write_folder(tmp_path / "one", protocol="balancedness"))
    figure = plots.draw(rows)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["balancedness", "test accuracy"]
    assert [len(axes.texts) for axes in figure.axes] == [0, 2]
    fields = {"protocol": "proportionality", "methods": ["vanilla"]}
    figure = plots.draw(rows_of(write_folder(tmp_path / "two", **fields)))
    assert [axes.get_title() for axes in figure.axes] == ["at once", "best of 50"]
    rescaled, kept = figure.axes[0].lines
    assert np.ptp(rescaled.get_ydata()) < 1e-6
    assert np.ptp(kept.get_ydata()) == pytest.approx(0.2)
    assert legend(figure) == ["biases rescaled", "biases kept"]


def test_proportionality_of_two_methods_has_lines_of_their_own(write_folder, tmp_path):
    """Which their names and colors tell apart, and no mean of the two."""
    fields = {"protocol": "proportionality", "seeds": 1}
    methods = {"methods": ["vanilla", "swr"]}
    rows = rows_of(write_folder(tmp_path / "run", **fields, **methods))
    lower = rows["method"] == "swr"
    rows.loc[lower, "test_accuracy"] -= 0.05
    figure = plots.draw(rows)
    plain, _, swr, _ = lines = figure.axes[0].lines
    np.testing.assert_allclose(plain.get_ydata() - swr.get_ydata(), 0.05)
    assert len({line.get_color() for line in lines}) == 2
    assert legend(figure) == [
        f"{name}, biases {biases}"
        for name in ("vanilla", "SWR")
        for biases in ("rescaled", "kept")
    ]


def legend(figure):
    """What is written in it."""
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_nothing_is_drawn_from_nothing(write_folder, tmp_path):
    rows = rows_of(write_folder(tmp_path / "run"))
    assert plots.draw(rows.iloc[:0]) is None
    assert plots.draw(rows.assign(test_accuracy=np.nan)) is None
    rows = rows_of(write_folder(tmp_path / "ratios", protocol="proportionality"))
    assert plots.draw(rows.assign(finished=False)) is None


def test_names_are_no_mathematics_and_not_hidden(write_folder, tmp_path):
    names = ["_hidden", r"$\frac{x$", "<b>&", "-->"]
    fields = {"methods": names, "dataset": "$a$"}
    figure = plots.draw(rows_of(write_folder(tmp_path / "run", **fields)))
    figure.savefig(io.BytesIO())
    assert len(named(figure.axes[0])) == len(names)
    assert figure.get_suptitle() == r"Single task: \$a\$, mlp"

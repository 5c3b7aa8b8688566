"""The figures: what is drawn, from what, and told apart how."""

import numpy as np
import pytest

from experiments.methods import METHODS
from experiments.reporting import plots
from experiments.reporting.cells import gather
from experiments.reporting.runs import read_run
from experiments.reporting.svg import svg_element


def cells_of(folder):
    return gather([read_run(folder)]).cells


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_learning_curves_run_through_all_stages(write_folder, tmp_path):
    cells = cells_of(
        write_folder(
            tmp_path / "run", protocol="warm-start", methods=["scratch", "swr"]
        )
    )
    figure = plots.learning_curves(cells)
    scratch, swr, change = figure.axes[0].lines
    assert scratch.get_xdata().tolist() == [5, 6, 7, 8]
    assert swr.get_xdata().tolist() == [1, 2, 3, 4, 4, 5, 6, 7, 8]
    np.testing.assert_allclose(
        swr.get_ydata(), cells[1].curve("test_accuracy")[1].mean(axis=0)
    )
    assert change.get_xdata() == [4, 4]
    assert legend(figure) == ["scratch", "SWR"]


def test_bands_are_within_sight(write_folder, tmp_path):
    """Also where seeds differ by much more than methods."""
    folder = write_folder(tmp_path / "run", seeds=2, epochs=50)
    path = folder / "metrics.csv"
    header, *lines = [line.split(",") for line in path.read_text().splitlines()]
    seed, accuracy = header.index("seed"), header.index("test_accuracy")
    for line in lines:
        if line[seed] == "1":
            line[accuracy] = str(float(line[accuracy]) - 0.4)
    path.write_text("\n".join(map(",".join, [header, *lines])))
    cells = cells_of(folder)
    low, high = plots.learning_curves(cells).axes[0].get_ylim()
    for cell in cells:
        values = cell.curve("test_accuracy")[1][:, -10:]
        mean, deviation = values.mean(axis=0), values.std(axis=0, ddof=1)
        assert low < min(mean - deviation)
        assert max(mean + deviation) < high


def test_every_layer_has_a_line(write_folder, tmp_path):
    cells = cells_of(write_folder(tmp_path / "run", model="vgg16", epochs=100))
    figure = plots.weight_growth(cells)
    for axes, name in zip(figure.axes, ("vanilla", "SWR"), strict=True):
        assert axes.get_title() == name
        assert len(axes.lines) == 29
        assert len(axes.lines[0].get_xdata()) == plots.PANEL_POINTS
        assert axes.lines[0].get_xdata()[-1] == 100
    # More names than this would be a wall.
    assert len(legend(figure)) == 8


def test_without_layers_growth_is_their_mean(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run")
    path = folder / "metrics.csv"
    path.write_text(path.read_text().replace("growth/", "other/"))
    cells = cells_of(folder)
    (line, _) = plots.weight_growth(cells).axes[0].lines
    np.testing.assert_allclose(
        line.get_ydata(), cells[0].curve("weight_growth")[1].mean(axis=0)
    )


def test_balancedness_and_proportionality_have_two_panels(write_folder, tmp_path):
    cells = cells_of(write_folder(tmp_path / "one", protocol="balancedness"))
    assert [axes.get_ylabel() for axes in plots.balancedness(cells).axes] == [
        "balancedness",
        "test accuracy",
    ]
    cells = cells_of(
        write_folder(tmp_path / "two", protocol="proportionality", methods=["vanilla"])
    )
    figure = plots.proportionality(cells)
    assert [axes.get_title() for axes in figure.axes] == ["at once", "best of 50"]
    rescaled, kept = figure.axes[0].lines
    assert np.ptp(rescaled.get_ydata()) < 1e-6
    assert np.ptp(kept.get_ydata()) == pytest.approx(0.2)


def test_hidden_units_have_a_panel_for_what_is_known(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", protocol="warm-start")
    (cells, path) = cells_of(folder), folder / "metrics.csv"
    dead, rank = plots.hidden_units(cells).axes
    assert [axes.get_ylabel() for axes in (dead, rank)] == [
        "dead units",
        "effective rank",
    ]
    for axes, column in ((dead, "dead_units"), (rank, "effective_rank")):
        *lines, change = axes.lines
        assert change.get_xdata() == [4, 4]
        for line, cell in zip(lines, cells, strict=True):
            expected = cell.curve(column)[1].mean(axis=0)
            np.testing.assert_allclose(line.get_ydata(), expected)
    path.write_text(path.read_text().replace("dead_units", "other"))
    (rank,) = plots.hidden_units(cells_of(folder)).axes  # As of a network without.
    assert rank.get_ylabel() == "effective rank"


def test_retention_is_drawn_against_the_accuracy_before(write_folder, tmp_path):
    cells = cells_of(
        write_folder(
            tmp_path / "run",
            protocol="continual-limited",
            methods=["vanilla", "full_reset"],
            seeds=2,
        )
    )
    figure = plots.retention(cells)
    drawn = [marks.get_offsets() for marks in figure.axes[0].collections]
    # For each method and moment: nine changes, then their mean.
    assert [len(marks) for marks in drawn] == [9, 1] * 4
    found = cells[1].retention()
    expected = 100 * np.mean(found["at"] - found["before"])
    assert drawn[5][0][0] == pytest.approx(expected)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [
        "vanilla",
        "full reset",
    ]


def test_nothing_is_drawn_from_nothing(write_folder, tmp_path):
    cells = cells_of(write_folder(tmp_path / "run", finished=0))
    for draw in (
        plots.learning_curves,
        plots.weight_growth,
        plots.balancedness,
        plots.hidden_units,
    ):
        assert draw(cells) is None
    assert plots.retention(cells) is None
    single = cells_of(write_folder(tmp_path / "single"))
    assert plots.retention(single) is None
    assert plots.balancedness(single) is None


def test_methods_are_told_apart(write_folder, tmp_path):
    others = ["mine", "yours"]
    cells = cells_of(write_folder(tmp_path / "run", methods=[*METHODS, *others]))
    styles = plots.styles(cells).values()
    assert len({style.color for style in styles}) == len(cells)
    assert len({style.name for style in styles}) == len(cells)


def test_coefficients_are_told_apart(write_folder, tmp_path):
    runs = [
        read_run(
            write_folder(
                tmp_path / str(value), methods=["swr"], coefficients={"swr": value}
            )
        )
        for value in (1e-3, 1e-2)
    ]
    one, two = plots.styles(gather(runs).cells).values()
    assert (one.name, two.name) == ("SWR (λ 0.001)", "SWR (λ 0.01)")
    assert one.color == two.color
    assert one.dashes != two.dashes


def test_names_are_no_mathematics_and_not_hidden(write_folder, tmp_path):
    names = ["_hidden", r"$\frac{x$", "<b>&", "-->"]
    cells = cells_of(write_folder(tmp_path / "run", methods=names))
    for draw in (plots.learning_curves, plots.weight_growth):
        svg_element(draw(cells), "figure-", "names")
    assert len(legend(plots.learning_curves(cells))) == len(names)

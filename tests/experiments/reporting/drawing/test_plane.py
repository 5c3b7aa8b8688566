"""A map of scores over what was varied."""

from collections.abc import Mapping
import io

import numpy as np
import pytest

from experiments.methods import METHODS
from experiments.reporting.drawing.plane import draw_plane


def pairs(features, classifiers, rates=(1e-3,)):
    return [
        ({"feature": f, "classifier": c}, rate)
        for rate in rates
        for f in features
        for c in classifiers
    ]


def drawn(figure):
    """Rows from above, as read: texts, and labels of both axes."""
    axes, *_ = figure.axes
    texts = {text.get_position(): text for text in axes.texts}
    rows = [label.get_text() for label in axes.get_yticklabels()]
    columns = [label.get_text() for label in axes.get_xticklabels()]
    return texts, rows, columns, axes


def test_two_coefficients_are_a_map():
    points = pairs((1e-3, 1e-2), (1e-4, 1e-1, 1))
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.9, 0.5])
    figure = draw_plane("swr_two, random-labels", points, scores)
    texts, rows, columns, axes = drawn(figure)
    assert rows == ["0.001", "0.01"]
    assert not axes.yaxis_inverted()  # The least is at the bottom.
    assert columns == ["0.0001", "0.1", "1"]
    assert axes.get_xlabel() == "λ of the classifier"
    assert axes.get_ylabel() == "λ of the features"
    assert axes.figure.get_suptitle() == "swr_two, random-labels"
    for (point, _), score in zip(points, scores, strict=True):
        place = (
            columns.index(f"{point['classifier']:g}"),
            rows.index(f"{point['feature']:g}"),
        )
        assert texts[place].get_text() == f"{score:.3f}"
    bold = [x.get_text() for x in texts.values() if x.get_weight() == "bold"]
    assert bold == ["0.900"]


def test_points_may_come_in_any_order():
    points = pairs((1e-3, 1e-2), (1e-4, 1e-1))
    scores = np.array([0.1, 0.2, 0.3, 0.4])
    texts = drawn(draw_plane("", points, scores))[0]
    again = drawn(draw_plane("", points[::-1], scores[::-1]))[0]
    assert {k: x.get_text() for k, x in texts.items()} == {
        k: x.get_text() for k, x in again.items()
    }


def test_a_pair_shows_the_best_of_its_rates_whatever_diverged():
    """Whether the one that did came first or last."""
    points = pairs((1e-3, 1e-2), (1e-4, 1e-1), rates=(1e-3, 1e-4))
    scores = np.array([0.1, 0.8, np.nan, 0.2, 0.7, 0.3, 0.6, np.nan])
    texts, *_, axes = drawn(draw_plane("swr_two", points, scores))
    assert (
        axes.figure.get_suptitle()
        == "swr_two\nthe best of learning rates 0.0001, 0.001"
    )
    found = {place: text.get_text() for place, text in texts.items()}
    assert found == {
        (0, 0): "0.700",
        (1, 0): "0.800",
        (0, 1): "0.600",
        (1, 1): "0.200",
    }


def test_a_coefficient_and_a_rate_are_a_map():
    points = [(value, rate) for rate in (1e-3, 1e-4) for value in (0.1, 0.2, 0.4)]
    figure = draw_plane("swr", points, np.arange(6) / 10)
    texts, rows, columns, axes = drawn(figure)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "coefficient λ")
    assert rows == ["0.1", "0.2", "0.4"]
    assert columns == ["0.0001", "0.001"]
    assert texts[1, 0].get_text() == "0.000"
    assert texts[0, 2].get_text() == "0.500"


def test_a_point_that_was_not_tried_is_left_empty():
    points = pairs((1e-3, 1e-2), (1e-4, 1e-1))[:3]
    texts, *_ = drawn(draw_plane("", points, np.array([0.1, 0.2, 0.3])))
    assert set(texts) == {(0, 0), (1, 0), (0, 1)}


def test_numbers_can_be_read_on_their_colours():
    points = pairs((1e-3, 1e-2), (1e-4, 1e-1))
    texts, *_ = drawn(draw_plane("", points, np.array([0.0, 0.1, 0.9, 1.0])))
    colors = {text.get_text(): text.get_color() for text in texts.values()}
    assert colors == {
        "0.000": "white",
        "0.100": "white",
        "0.900": "black",
        "1.000": "black",
    }


GRIDS = {
    "swr_two": ("λ of the features", "λ of the classifier"),
    "swr_directions": ("λ of the classifier", "direction"),
    "shrink_and_perturb_steps": ("shrink", "perturb"),
    "upgd": ("sigma", "decay"),
}


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].grid])
def test_every_method_s_own_grid_is_drawn(method):
    """Whatever its coefficients are called."""
    points = [(c, rate) for rate in (1e-3, 1e-4) for c in METHODS[method].grid]
    figure = draw_plane(method, points, np.arange(len(points)) / 100)
    axes = figure.axes[0]
    pair = method if method in GRIDS else "swr_two"
    several = isinstance(METHODS[method].grid[0], Mapping)
    names = GRIDS[pair] if several else ("coefficient λ", "learning rate")
    assert (axes.get_ylabel(), axes.get_xlabel()) == names
    assert ("the best of learning rates" in figure.get_suptitle()) == several


def test_what_is_not_shown_is_in_the_title():
    points = [
        ({"feature": f, "classifier": c, "direction": d}, 1e-3)
        for f in (1, 2)
        for c in (1, 2)
        for d in (3, 4)
    ]
    figure = draw_plane("swr_directions", points, np.arange(8) / 10)
    assert figure.get_suptitle() == "swr_directions\nthe best of directions 3, 4"


def test_what_does_not_vary_takes_no_axis():
    points = [({"shrink": 1, "perturb": p}, r) for p in (2, 3) for r in (1e-3, 1e-4)]
    axes = draw_plane("", points, np.arange(4) / 10).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "perturb")


def test_a_long_title_is_whole():
    title = "spectral, slowly-changing-regression, bits, mlp_leaky\n" + "a word " * 20
    figure = draw_plane(title, pairs((1e-3, 1e-2), (1e-4, 1e-1)), np.arange(4) / 10)
    figure.savefig(io.BytesIO())
    (text,) = [t for t in figure.texts if t.get_text()]
    box = text.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1


def test_a_map_takes_two_things():
    line = np.arange(3) / 10
    assert draw_plane("", pairs((0.1,), (0.1, 0.2, 0.3)), line) is None
    assert draw_plane("", [(x, 1e-3) for x in (0.1, 0.2, 0.3)], line) is None
    assert draw_plane("", [(0.1, x) for x in (0.1, 0.2, 0.3)], line) is None
    assert draw_plane("", [(None, x) for x in (0.1, 0.2, 0.3)], line) is None

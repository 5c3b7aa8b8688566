"""The pictures show the plans' numbers, and no label lies on another."""

import itertools

from matplotlib.text import Text
import numpy as np
import pytest

from experiments.guide.gallery import EXAMPLES, GALLERY, VECTORS
from experiments.guide.plan_figures import plans_figure, walk_figure


def both(name):
    return GALLERY[name].plan("norms"), GALLERY[name].plan("function")


def panels(figure):
    return [axes for axes in figure.axes if axes.images]


def numbers(axes):
    """What is written in the cells, as a matrix."""
    matrix = np.zeros(axes.images[0].get_array().shape)
    for text in axes.texts:
        j, i = text.get_position()
        matrix[i, j] = float(text.get_text().replace("−", "-"))
    return matrix


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


FIGURES = {
    "walk": lambda: walk_figure(*EXAMPLES["residual_mlp"], VECTORS),
    **{name: lambda name=name: plans_figure(*both(name)) for name in GALLERY},
}


@pytest.mark.parametrize("name", FIGURES)
def test_no_label_lies_on_another_or_beyond_the_edge(name):
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    assert len(boxes) > 10
    width, height = figure.canvas.get_width_height()
    for text, box in boxes:
        assert 0 <= box.x0 <= box.x1 <= width, text
        assert 0 <= box.y0 <= box.y1 <= height, text
    for (first, a), (second, b) in itertools.combinations(boxes, 2):
        assert not a.overlaps(b), (first, second)


@pytest.mark.parametrize("name", GALLERY)
def test_the_cells_hold_the_exponents(name):
    plans = both(name)
    figure = plans_figure(*plans)
    count = 1 if name == "mlp" else 2  # Whose priorities coincide.
    above, below = np.reshape(panels(figure), (2, count))
    rows = [plans[0].leaf_paths.index(path) for path in labels(above[0].yaxis)]
    assert sorted(rows) == list(range(len(plans[0].leaves)))
    for axes, outputs, plan in zip(above, below, plans, strict=False):
        assert labels(axes.xaxis) == [layer.name for layer in plan.layers]
        np.testing.assert_allclose(numbers(axes), plan.exponents[rows], atol=6e-3)
        np.testing.assert_allclose(numbers(outputs), plan.output_exponents, atol=6e-3)


def test_leaves_stand_with_their_layer():
    figure = plans_figure(*both("mlp"))
    assert labels(panels(figure)[0].yaxis) == [
        f"{layer}/{leaf}"
        for layer in ("hidden_0", "hidden_1", "logits")
        for leaf in ("kernel", "bias")
    ]


def test_the_walk_shows_degrees_constraints_and_both_matrices():
    degrees, rows, norms, function = panels(FIGURES["walk"]())
    assert labels(degrees.yaxis)[0] == "a = dot_general x w1"
    assert numbers(degrees)[9].tolist() == [2, 0, 0, 0, 0, 0]  # The square.
    assert labels(rows.yaxis)[2].startswith("i: w1 and w2 meet")
    assert numbers(rows)[2].tolist() == [0, 0, -1, 0, 0, 0]
    assert labels(norms.yaxis) == ["w1", "b1", "w2", "b2", "w3", "b3", "output"]
    np.testing.assert_array_equal(numbers(norms)[[0, 2, 4]], np.eye(3))
    assert not numbers(function)[2].any()

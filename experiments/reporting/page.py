"""The report as one HTML page that asks nothing of any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
import itertools
import json
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from matplotlib.figure import Figure

from experiments.protocols.records import OBSERVED
from experiments.protocols.stages import PROTOCOLS
from experiments.reporting import plots, tables
from experiments.reporting.cells import (
    Cell,
    Gathered,
    Setting,
    by_protocol,
    by_setting,
    label,
)
from experiments.reporting.missing import missing
from experiments.reporting.svg import svg_element
from experiments.reporting.tables import Table


class _Drawing(NamedTuple):
    """A kind of figure: what draws it, what it shows and how to read it."""

    draw: Callable[[Sequence[Cell]], Figure | None]
    shows: str
    how: str


_CHANGES = " Dotted verticals, if any, mark changes of data."
_BANDS = (
    " Lines are means over seeds; plain training is dashed; it and SWR have bands of"
    " one standard deviation."
)
_TRAINING = (
    _Drawing(
        plots.learning_curves,
        "Test accuracy over epochs",
        _BANDS
        + _CHANGES
        + " The lowest twentieth of all values is cut off, and of a line with more than"
        f" {plots.LINE_POINTS} values not every one is drawn.",
    ),
    _Drawing(
        plots.retention,
        "Test accuracy lost at changes of data",
        " Means over seeds: small marks are single changes, large ones the mean over"
        " them. The scale is linear within one point, logarithmic beyond.",
    ),
    _Drawing(
        plots.weight_growth,
        "Growth of weights: norm over initial norm",
        " Means over seeds; with a panel for each method, a line is a layer.",
    ),
    _Drawing(
        plots.hidden_units,
        "Dead units and effective rank of the features",
        _BANDS
        + _CHANGES
        + f" Dead: the fraction of ReLU units that are zero for all of {OBSERVED} test"
        " images. The rank is that of what the last layer classifies.",
    ),
)
_DRAWINGS = {
    "proportionality": (
        _Drawing(
            plots.proportionality,
            "Test accuracy against the ratio by which the network was scaled",
            " Means over seeds.",
        ),
    ),
    "balancedness": (
        _Drawing(plots.balancedness, "Balancedness and test accuracy", _BANDS),
        _TRAINING[2],
    ),
}


def html(title: str, notes: Sequence[str], gathered: Gathered) -> str:
    """The whole page.

    Args:
        title: its heading.
        notes: paragraphs on how to read it.
        gathered: what it shows.
    """
    main = _element("main", _element("h1", title))
    main.extend(_element("p", note) for note in notes)
    number = itertools.count(1)
    main.append(_element("h2", "What was run"))
    main.append(_table(tables.runs(gathered), next(number)))
    for protocol, cells in by_protocol(gathered.cells).items():
        main.append(_element("h2", PROTOCOLS[protocol].title))
        for table in tables.of_protocol(protocol, cells):
            main.append(_table(table, next(number)))
        for setting, members in by_setting(cells).items():
            main.extend(_figures(setting, members, number))
    main.append(_element("h2", "What is missing"))
    sentences = missing(gathered)
    for heading, lines in sentences.items():
        main.append(_element("h3", heading))
        main.append(_element("ul", *(_element("li", line) for line in lines)))
    if not sentences:
        main.append(_element("p", "Nothing."))
    main.append(_element("h2", "How to repeat"))
    main.append(
        _element("p", "Each run's config.json, with versions and the device it ran on.")
    )
    for run in gathered.runs:
        config = _element("pre", json.dumps(run.config, indent=2))
        main.append(_element("details", _element("summary", run.name), config))
    page = _element("html", _head(title), _element("body", main), lang="en")
    text = ElementTree.tostring(page, encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{text}\n"


def _head(title: str) -> Element:
    style = (
        resources.files("experiments.reporting").joinpath("page.css").read_text("utf-8")
    )
    return _element(
        "head",
        _element("meta", charset="utf-8"),
        # The browser itself refuses what the page should never ask for.
        _element(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; style-src 'unsafe-inline'",
        ),
        _element(
            "meta", name="viewport", content="width=device-width, initial-scale=1"
        ),
        _element("title", title),
        _element("style", style),
    )


def _table(table: Table, number: int) -> Element:
    caption = f"table-{number}"
    element = _element(
        "table", _element("caption", _element("span", table.caption), id=caption)
    )
    names = (_element("th", name, scope="col") for name in table.header)
    element.append(_element("thead", _element("tr", *names)))
    for heading, rows in table.groups:
        body = _element("tbody")
        if heading:
            columns = str(len(table.header))
            name = _element(
                "th", _element("span", heading), scope="rowgroup", colspan=columns
            )
            body.append(_element("tr", name))
        for first, *others in rows:
            values = (_element("td", value) for value in others)
            body.append(_element("tr", _element("th", first, scope="row"), *values))
        element.append(body)
    return _box(element, aria_labelledby=caption)


def _figures(
    setting: Setting, cells: Sequence[Cell], number: itertools.count[int]
) -> list[Element]:
    """A heading and what there is to draw, or nothing at all."""
    where = (
        f"{setting.dataset}, {setting.model}: profile {setting.profile},"
        f" {setting.epochs} epochs a stage, training images: {setting.train_images}"
    )
    unfinished = [label(c.method) for c in cells if c.histories and not c.finished]
    remark = ""
    if unfinished:
        names = ", ".join(unfinished)
        remark = f" Not finished, and drawn as far as all seeds have come: {names}."
    elements = []
    for drawing in _DRAWINGS.get(setting.protocol, _TRAINING):
        figure = drawing.draw(cells)
        if figure is None:
            continue
        name = f"{PROTOCOLS[setting.protocol].title}, {where}."
        svg = svg_element(figure, f"figure-{next(number)}-", f"{drawing.shows}. {name}")
        shows = _element("b", f"{drawing.shows}.")
        caption = _element("figcaption", shows, f" {name}{drawing.how}{remark}")
        box = _box(svg, aria_label=f"Figure: {drawing.shows}")
        elements.append(_element("figure", box, caption))
    if not elements:
        return []
    return [_element("h3", where), _element("div", *elements, class_="figures")]


def _box(content: Element, **attributes: str) -> Element:
    """A box that scrolls by itself, also from the keyboard, if it is too wide."""
    return _element(
        "div", content, class_="box", role="region", tabindex="0", **attributes
    )


def _element(tag: str, /, *content: str | Element, **attributes: str) -> Element:
    """An element; its text is escaped when the page is written.

    Attributes are spelt as Python allows: ``class_``, ``aria_label``.
    """
    spelt = {key.strip("_").replace("_", "-"): v for key, v in attributes.items()}
    element = Element(tag, spelt)
    for part in content:
        if isinstance(part, Element):
            element.append(part)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + part
        else:
            element.text = (element.text or "") + part
    return element

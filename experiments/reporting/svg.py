"""A Matplotlib figure as an SVG element inside a page."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure


def svg_element(figure: Figure, prefix: str, name: str) -> ElementTree.Element:
    """A figure as an element for a page.

    Args:
        figure: the figure.
        prefix: of all ids in it, unique on the page.
        name: what it shows, for those who do not see it.
    """
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    # Who drew it, and a style sheet that would apply to the whole page.
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    used = set(_REFERENCE.findall(file.getvalue()))
    for element in root.iter():
        element.tag = _local(element.tag)
        if element.tag != "text":
            element.text = None
        element.tail = None
        attributes = {_local(key): value for key, value in element.attrib.items()}
        element.attrib.clear()
        for key, value in attributes.items():
            if key in {"d", "x", "y"}:
                value = _FRACTION.sub(r"\1", " ".join(value.split()))
                if not set("QCz") & set(value):  # Lines are what follows an M.
                    value = value.replace(" L ", " ")
            elif key == "style":
                value = _FONTS.sub("", value)
            elif key == "transform":
                value = "" if value.startswith("rotate(-0 ") else value
            elif key == "id":
                value = prefix + value if value in used else ""
            elif key == "href":
                value = "#" + prefix + value.removeprefix("#")
            else:
                value = value.replace("url(#", "url(#" + prefix)
            if value:
                element.set(key, value)
    root.set("role", "img")
    root.set("aria-label", name)
    return root


# What refers to another element; ids that nothing refers to can go.
_REFERENCE = re.compile(r"(?:href=\"|url\()#([^\")]+)")
# The page's style sheet names one.
_FONTS = re.compile(r"font-family: [^;]*; ?")
# A tenth of a point is less than most screens show.
_FRACTION = re.compile(r"(\.\d)\d+")


def _local(name: str) -> str:
    """A name without its namespace, of which HTML has none."""
    return name.rpartition("}")[2]

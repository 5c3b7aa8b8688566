"""Figures inside a page."""

from matplotlib.figure import Figure

from experiments.reporting.svg import svg_element


def drawn(prefix):
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    axes.plot([0, 1, 2], [1, 0, 1.23456789], marker="o", label="a <b> & c")
    axes.legend()
    return svg_element(figure, prefix, "a 'name' <of> it")


def test_it_stands_on_its_own():
    root = drawn("one-")
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert root.get("aria-label") == "a 'name' <of> it"
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) > 2
    assert all(name.startswith("one-") for name in ids)
    references = [e.get("href") for e in root.iter() if e.get("href")]
    references += [e.get("clip-path")[4:-1] for e in root.iter() if e.get("clip-path")]
    assert len(references) > 10
    assert {reference.removeprefix("#") for reference in references} <= set(ids)
    # What would speak of other hosts, or style the whole page.
    assert not {"metadata", "style"} & {element.tag for element in root.iter()}
    assert not any("}" in e.tag or "http" in str(e.attrib) for e in root.iter())


def test_two_figures_share_no_id():
    one, two = (
        {element.get("id") for element in drawn(prefix).iter()} - {None}
        for prefix in ("one-", "two-")
    )
    assert not one & two


def test_numbers_are_short():
    paths = [e.get("d") for e in drawn("one-").iter() if e.get("d")]
    digits = [n.partition(".")[2] for path in paths for n in path.split()]
    assert max(map(len, digits)) == 1

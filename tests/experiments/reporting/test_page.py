"""The page: whole, by itself, and safe whatever files say."""

from html.parser import HTMLParser
import itertools
import os
import re
import shutil
import subprocess

import pytest

from experiments.methods import METHODS
from experiments.protocols.stages import PROTOCOLS
from experiments.reporting.cells import gather
from experiments.reporting.page import html
from experiments.reporting.runs import read_run

HOSTILE = '<script>alert("x")</script> & $x$ | </style> "quoted"'
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Tags, attributes and text, of which every tag must be closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def named(self, *tags):
        return [(tag, attributes) for tag, attributes in self.elements if tag in tags]

    def inside(self, *tags):
        return [text for tag, text in self.texts if tag in tags]


@pytest.fixture(scope="module")
def everything(write_folder, tmp_path_factory):
    """A run of every protocol, with names that no one should choose."""
    folders = [
        write_folder(
            tmp_path_factory.mktemp("runs") / protocol,
            protocol=protocol,
            methods=["scratch", "vanilla", "swr", HOSTILE],
            seeds=3,
            dataset="<i>data</i>",
            profile="<b>quick</b>",
            device={"kind": "<u>device</u>"},
        )
        for protocol in PROTOCOLS
    ]
    return html("A <title>", ["A <note>."], gather([read_run(f) for f in folders]))


def test_it_is_one_well_formed_page(everything):
    page = Page(everything)
    assert everything.startswith("<!DOCTYPE html>\n<html lang=")
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids)) > 100
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert {entry.title for entry in PROTOCOLS.values()} <= set(page.inside("h2"))
    for title in ("What was run", "What is missing", "How to repeat"):
        assert title in page.inside("h2")


def test_it_asks_nothing_of_other_hosts(everything):
    page = Page(everything)
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "img", "iframe", "object", "base"}
        for name, value in attributes.items():
            assert name not in {"src", "srcset", "action", "data"}
            assert not name.startswith("on")
            if name in {"href", "xlink:href"}:
                assert value.startswith("#")
            for address in re.findall(r"url\((.*?)\)", value or ""):
                assert address.startswith("#")
    (style,) = page.inside("style")
    assert not re.search(r"url\(|@import|</", style)
    (policy,) = [a for _, a in page.named("meta") if "http-equiv" in a]
    assert policy["content"].startswith("default-src 'none';")


def test_references_inside_figures_are_met(everything):
    page = Page(everything)
    ids = {attributes.get("id") for _, attributes in page.elements}
    references = re.findall(r'href="#(.*?)"|url\(#(.*?)\)', everything)
    labels = [a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a]
    assert len(references) > 1000
    assert {one or other for one, other in references} | set(labels) <= ids


def test_what_files_say_is_text(everything):
    page = Page(everything)
    assert not {"script", "i", "u"} & {tag for tag, _ in page.elements}
    assert page.inside("h1") == ["A <title>"]
    assert "A <note>." in page.inside("p")
    assert HOSTILE in page.inside("th")
    assert "<b>quick</b>" in page.inside("td")
    assert "<u>device</u>" in page.inside("td")
    assert "<i>data</i>, mlp" in page.inside("span")


def test_tables_and_figures_say_what_they_are(everything):
    page = Page(everything)
    tables, captions = page.named("table"), page.named("caption")
    # Of runs, seven protocols, and changes of data in three of them.
    assert len(tables) == len(captions) == 1 + 7 + 3
    figures = page.named("svg")
    # Three with changes have four, single tasks three, balancedness two.
    assert len(figures) == len(page.named("figcaption")) == 3 * 4 + 2 * 3 + 2 + 1
    for _, attributes in figures:
        assert attributes["role"] == "img"
        assert "profile <b>quick</b>, 4 epochs a stage" in attributes["aria-label"]
    for _, attributes in page.named("th"):
        assert attributes["scope"] in {"col", "row", "rowgroup"}
    boxes = [a for tag, a in page.named("div") if a["class"] == "box"]
    assert len(boxes) == len(tables) + len(figures)
    assert all("aria-labelledby" in a or "aria-label" in a for a in boxes)


def test_an_unfinished_run_is_drawn_and_named(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", finished=2)
    page = Page(html("title", [], gather([read_run(folder)])))
    remark = "Not finished, and drawn as far as all seeds have come: vanilla, SWR."
    assert sum(remark in text for text in page.inside("figcaption")) == 3


def test_its_size_is_bounded(write_folder, tmp_path):
    """As many points as the paper's longest run, in every figure."""
    folder = write_folder(
        tmp_path / "run",
        protocol="continual-full",
        methods=[name for name in METHODS if name != "scratch"],
        epochs=100,
        seeds=1,
    )
    text = html("title", [], gather([read_run(folder)]))
    assert len(text) < 400_000


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium on PATH")
def test_it_fits_a_phone(everything, tmp_path):
    (tmp_path / "report.html").write_text(everything, encoding="utf-8")
    # A window has a least width; a frame has none.
    (tmp_path / "phone.html").write_text(
        "<!DOCTYPE html><iframe src='report.html' width=390 height=800"
        " style='border: 0' onload='document.title = [contentDocument"
        ".documentElement.scrollWidth, contentDocument.documentElement.clientWidth]'>"
        "</iframe>"
    )
    off = ("gpu", "background-networking", "component-update", "sync")
    done = subprocess.run(
        [
            "chromium",
            *("--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars"),
            *(f"--disable-{name}" for name in off),
            "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=10000",
            "--dump-dom",
            (tmp_path / "phone.html").as_uri(),
        ],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    scroll, client = re.search(r"<title>(\d+),(\d+)</title>", done.stdout).groups()
    assert int(client) == 390
    assert int(scroll) <= 390

"""The report's files: whole, by themselves, and safe whatever files say."""

from html.parser import HTMLParser
import itertools
import json
import os
import re
import shutil
import subprocess

from markdown_it import MarkdownIt
from markdown_it.common.utils import unescapeAll
import pandas as pd
from plotly.offline import get_plotlyjs
import pytest

from experiments.errors import UserError
from experiments.reporting.collection import collect
from experiments.reporting.gathering import write_report
from experiments.reporting.naming import KNOWN, title
from experiments.reporting.ranking import ranking
from experiments.reporting.verdict import verdict

HOSTILE = (
    '<script>alert("x")</script> & $x$ | </style> "quoted" *f* [d](e) `g` \\ {{ 7*7 }}'
)
VOID = {"meta", "link", "img", "br", "hr", "input"}
PROTOCOLS = [*KNOWN[:1], *KNOWN[5:]]  # Of streams, that of accuracy and that of errors.
DRAWN = [f"{protocol}-i-data-i-mlp.png" for protocol in PROTOCOLS]
FILES = {"ranking.csv", "report.html", "report.md", "results.csv", *DRAWN}


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
def folders(write_folder, tmp_path_factory):
    """A run of every protocol, with names that no one should choose."""
    root = tmp_path_factory.mktemp("runs")
    return [
        write_folder(
            root / protocol,
            protocol=protocol,
            methods=["scratch", "vanilla", "swr", HOSTILE],
            seeds=3,
            dataset="<i>data</i>",
            profile="<b>quick</b>",
            device={"kind": "<u>device</u>\ud800"},
        )
        for protocol in PROTOCOLS
    ]


@pytest.fixture(scope="module")
def report(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    broken = out / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"protocol": "</script>"}')
    write_report(out / "deep", [*folders, broken, folders[0]])
    return out / "deep"


@pytest.fixture(scope="module")
def text(report):
    return (report / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_it_leaves_its_files(report):
    assert {path.name for path in report.iterdir()} == FILES


def test_each_setting_has_a_figure_of_its_own(write_folder, tmp_path):
    """And what has nothing to draw has none: here a run without any test accuracy."""
    folders = [write_folder(tmp_path / f"{n}", batch_size=n) for n in (1, 2, 3)]
    folders.append(write_folder(tmp_path / "4", dataset="!"))
    metrics = pd.read_csv(folders[1] / "metrics.csv").assign(test_accuracy="")
    metrics.to_csv(folders[1] / "metrics.csv", index=False)
    written = write_report(tmp_path / "out", folders)
    assert all(path.exists() for path in written)
    names = [
        "single-task-mlp.png",
        "single-task-mnist-mlp.png",
        "single-task-mnist-mlp-2.png",
    ]
    assert [path.name for path in written[4:]] == names
    text = (tmp_path / "out" / "report.md").read_text()
    assert re.findall(r"\n\n!\[.*\]\((.*)\)\n\n", text) == names
    settings = [setting for setting, _ in collect(folders).settings()]
    assert [s["batch_size"] for s in settings] == ["", "1", "2", "3"]


def test_settings_that_differ_in_their_test_images_say_so(write_folder, tmp_path):
    few = write_folder(tmp_path / "few", test_images=100)
    write_report(tmp_path / "out", [write_folder(tmp_path / "all"), few])
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert len(re.findall("^## Single task", text, re.MULTILINE)) == 2
    assert text.count("test images: 100") == 1


def test_it_is_one_well_formed_page(page, text):
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids)) == 2 * len(PROTOCOLS) + 1
    links = [a["href"].removeprefix("#") for _, a in page.named("a")]
    assert set(links) == set(ids) - {"options"}
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_answers_come_first(page, folders):
    headings = page.inside("h2")
    expected = [f"{title(protocol)}: <i>data</i>, mlp" for protocol in PROTOCOLS]
    assert headings[: len(expected)] == expected
    verdicts = [text for text in page.inside("p") if "comes first, with" in text]
    assert verdicts[0] == verdict(collect(folders[:1]).rows)
    captions = page.inside("span")
    assert captions[0].startswith("Ranking by online accuracy, mean over all tasks.")


def test_it_asks_nothing_of_other_hosts(page, text):
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "base", "form"}
        for name, value in attributes.items():
            assert name not in {"src", "srcset", "action", "data"}
            assert not name.startswith("on")
            assert name != "href" or value.startswith("#")
    (style,) = page.inside("style")
    assert not re.search(r"url\(|@import|</", style)
    # Beside Plotly's own script, which asks only for maps, no address at all.
    assert text.count(get_plotlyjs()) == 1
    assert not re.search(r"https?:|//[a-z]+\.", text.replace(get_plotlyjs(), ""))
    (policy,) = [a for _, a in page.named("meta") if "http-equiv" in a]
    assert policy["content"] == (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
        " img-src data:"
    )


def test_what_files_say_is_text(page):
    assert not {"i", "u"} & {tag for tag, _ in page.elements}
    assert len(page.named("script")) == 3 + len(page.named("figure"))
    assert HOSTILE in page.inside("th")
    assert "<b>quick</b>" in page.inside("td")
    assert any("<u>device</u>" in text for text in page.inside("td"))
    assert any("<i>data</i>, mlp" in text for text in page.inside("h2"))
    assert any("</script>" in text for text in page.inside("li"))


def test_tables_and_figures_say_what_they_are(page):
    tables, captions = page.named("table"), page.named("caption")
    # Of runs; two of each protocol, of proportionality one; and three have changes.
    assert len(tables) == len(captions) == 1 + 2 * len(PROTOCOLS) - 1 + 3
    plots = [a for _, a in page.named("div") if a.get("class") == "plot"]
    assert len(plots) == len(page.named("figure")) == 2 * len(PROTOCOLS) + 3
    assert all(a["role"] == "img" and "<i>data</i>" in a["aria-label"] for a in plots)
    specs = [t for tag, t in page.texts if tag == "script" and t.startswith("{")]
    assert [bool(json.loads(spec)) for spec in specs] == [True] * (len(plots) + 1)
    for _, attributes in page.named("th"):
        assert attributes["scope"] in {"col", "row"}
    boxes = [a for _, a in page.named("div") if a.get("class") == "box"]
    assert len(boxes) == len(tables)
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in boxes)


def test_markdown_keeps_its_shape_and_words(report):
    text = (report / "report.md").read_text(encoding="utf-8")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    kinds = [token.type for token in tokens]
    assert kinds.count("table_open") == 1 + 2 * len(PROTOCOLS) - 1 + 3
    assert "html_block" not in kinds
    inline = [token for token in tokens if token.type == "inline"]
    plain = {child.type for token in inline for child in token.children}
    assert plain <= {"text", "text_special", "strong_open", "strong_close", "image"}
    images = [c for t in inline for c in t.children if c.type == "image"]
    assert [image.attrs["src"] for image in images] == DRAWN
    headings = [f"{title(protocol)}: <i>data</i>, mlp" for protocol in PROTOCOLS]
    assert [unescapeAll(image.content) for image in images] == headings
    words = ["".join(child.content for child in t.children) for t in inline]
    assert HOSTILE in words
    assert "What is missing" in words
    widths = [row.count(" | ") for row in text.splitlines() if row.startswith("|")]
    assert min(widths) > 1


def test_the_tables_of_numbers_are_whole(report, folders):
    rows = collect(folders).rows
    results = pd.read_csv(report / "results.csv")
    assert len(results) == len(rows)
    assert set(results["method"]) == {"scratch", "vanilla", "swr", HOSTILE}
    found = pd.read_csv(report / "ranking.csv").groupby("protocol", sort=False)
    assert list(found.groups) == [name for name in PROTOCOLS if name[:3] != "pro"]
    stream = found.get_group(PROTOCOLS[0])
    expected = ranking(rows[rows["protocol"] == PROTOCOLS[0]])
    assert stream["name"].tolist() == expected["name"].tolist()
    assert stream["score"].tolist() == pytest.approx(expected["score"].tolist(), 1e-5)
    assert stream["letters"].tolist() == expected["letters"].tolist()


def test_it_is_the_same_every_time(write_folder, tmp_path):
    run = write_folder(tmp_path / "run")
    one = [path.read_bytes() for path in write_report(tmp_path / "one", [run])]
    two = [path.read_bytes() for path in write_report(tmp_path / "two", [run])]
    assert one == two


def test_an_unfinished_run_is_drawn_and_named(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", finished=2)
    path, *_ = write_report(tmp_path / "out", [folder])
    page = Page(path.read_text(encoding="utf-8"))
    remark = "Not finished, and drawn as far as all seeds have come: vanilla, SWR."
    assert remark in page.inside("p")
    assert len(page.named("figure")) == 1


@pytest.mark.parametrize(
    ("protocol", "value"),
    [
        ("random-labels", "inf"),
        ("warm-start", "inf"),
        ("proportionality", "inf"),
        ("random-labels", "no column"),
    ],
)
def test_strange_numbers_stop_nothing(write_folder, tmp_path, protocol, value):
    """In every column, and in columns that other protocols have."""
    folder = write_folder(tmp_path / "run", protocol=protocol, seeds=2, epochs=2)
    metrics = pd.read_csv(folder / "metrics.csv", dtype=str, keep_default_na=False)
    config = json.loads((folder / "config.json").read_text())
    names = [name for name in metrics if name not in ("protocol", "dataset", "model")]
    added = ["task", "stage", "epoch", "scored", "name", "run", "ratio", "finished"]
    folders = [folder]
    for place, name in enumerate(dict.fromkeys([*names, *added]), start=1):
        changed = metrics.drop(columns=name, errors="ignore")
        if value != "no column":
            changed = metrics.assign(**{name: value})
        folders.append(tmp_path / f"strange-{place}")
        folders[-1].mkdir()
        changed.to_csv(folders[-1] / "metrics.csv", index=False)
        # Each in a setting of its own, or the newest alone would be shown.
        text = json.dumps(config | {"batch_size": place})
        (folders[-1] / "config.json").write_text(text)
    write_report(tmp_path / "out", folders)


def test_mistakes_are_named(write_folder, tmp_path):
    with pytest.raises(UserError, match=r"no runs: name at least one folder"):
        write_report(tmp_path / "out", [])
    run = write_folder(tmp_path / "run")
    (run / "metrics.csv").write_text("no,table\n")
    with pytest.raises(UserError, match=r"has no column 'protocol'"):
        write_report(tmp_path / "out", [run])
    (tmp_path / "file").write_text("")
    whole = write_folder(tmp_path / "whole")
    with pytest.raises(UserError, match=r"cannot write to .*file/out: Not a directory"):
        write_report(tmp_path / "file" / "out", [whole])
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium on PATH")
def test_it_is_drawn_on_a_phone(report, tmp_path):
    # A window has a least width; a frame has none.
    (tmp_path / "phone.html").write_text(
        f"""<!DOCTYPE html>
        <iframe src="{(report / "report.html").as_uri()}" width=390 height=800
         style="border: 0"></iframe>
        <script>
        const all = (what) => page.querySelectorAll(what);
        const choose = (select, value) => {{
          select.value = value;
          select.dispatchEvent(new Event("change"));
        }};
        let page;
        document.querySelector("iframe").onload = (event) => {{
          page = event.target.contentDocument;
          const {{ scrollWidth, clientWidth }} = page.documentElement;
          const [metric, smoothing] = all("select");
          choose(metric, "weight_growth");
          choose(smoothing, "2");
          document.title = [
            scrollWidth, clientWidth, all(".plot .xaxislayer-above").length,
            all(".plot a, .legendtext b").length, all(".plot .ytitle")[0].textContent,
          ];
        }};
        </script>"""
    )
    off = ("gpu", "background-networking", "component-update", "sync")
    done = subprocess.run(
        [
            "chromium",
            *("--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars"),
            *(f"--disable-{name}" for name in off),
            "--allow-file-access-from-files",
            "--enable-logging=stderr",
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
    found = re.search(r"<title>(.*?)</title>", done.stdout).group(1).split(",")
    scroll, client, drawn, links = map(int, found[:4])
    assert client == 390
    assert scroll <= 390
    assert drawn >= 2 * len(PROTOCOLS) + 3
    assert links == 0
    assert found[4] == "weight growth: norm over initial norm"
    assert "CONSOLE" not in done.stderr  # Nothing failed, and nothing was refused.

"""The tables as Markdown."""

from markdown_it import MarkdownIt

from experiments.reporting.cells import gather
from experiments.reporting.markdown import markdown
from experiments.reporting.runs import read_run

HOSTILE = "a|b <b>c</b> [d](e) *f* `g` ~~h~~ &amp; \\ ![i](j)"


def rendered(*folders):
    text = markdown(
        "A *title*", ["A <note>."], gather([read_run(folder) for folder in folders])
    )
    return text, MarkdownIt("commonmark").enable("table").parse(text)


def test_tables_keep_their_shape_and_words(write_folder, tmp_path):
    text, tokens = rendered(
        write_folder(
            tmp_path / "run",
            protocol="warm-start",
            methods=["vanilla", HOSTILE],
            profile=HOSTILE,
        )
    )
    kinds = [token.type for token in tokens]
    assert kinds.count("table_open") == 3
    assert kinds.count("tr_open") == 3 + 1 + 2 * 2
    assert "html_block" not in kinds
    inline = [token for token in tokens if token.type == "inline"]
    plain = {child.type for token in inline for child in token.children}
    assert plain <= {"text", "text_special", "strong_open", "strong_close"}
    words = ["".join(child.content for child in t.children) for t in inline]
    # A method in two tables; a profile in every row of three.
    assert words.count(HOSTILE) == 2 + 5
    assert words[:2] == ["A *title*", "A <note>."]
    assert "## What is missing" in text


def test_rows_have_as_many_cells_as_the_header(write_folder, tmp_path):
    text, _ = rendered(write_folder(tmp_path / "run"))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert "| vanilla | – | " in text
    widths = [row.count(" | ") for row in rows]
    # The runs, then the results; a heading and a ruler each.
    assert widths[0:3] == [9] * 3
    assert len(set(widths[3:])) == 1
    assert len(rows) == 3 + 4

"""A report as Markdown: its tables and what is missing, without figures."""

from __future__ import annotations

from collections.abc import Sequence
import re

from experiments.reporting import tables
from experiments.reporting.cells import Gathered, by_protocol
from experiments.reporting.missing import missing
from experiments.reporting.tables import Table


def markdown(title: str, notes: Sequence[str], gathered: Gathered) -> str:
    """The whole report.

    Args:
        title: its heading.
        notes: paragraphs on how to read it.
        gathered: what it shows.
    """
    shown = [tables.runs(gathered)]
    for protocol, cells in by_protocol(gathered.cells).items():
        shown += tables.of_protocol(protocol, cells)
    blocks = [f"# {_text(title)}", *map(_text, notes)]
    for table in shown:
        blocks += [f"## {_text(table.caption)}", *_table(table)]
    blocks.append("## What is missing")
    sentences = missing(gathered)
    for heading, lines in sentences.items():
        blocks += [f"### {_text(heading)}", "\n".join(f"- {_text(x)}" for x in lines)]
    if not sentences:
        blocks.append("Nothing.")
    return "\n\n".join(blocks) + "\n"


def _table(table: Table) -> list[str]:
    blocks = []
    for heading, rows in table.groups:
        if heading:
            blocks.append(f"**{_text(heading)}**")
        ruler = ["---", *["---:"] * (len(table.header) - 1)]
        lines = [
            [_text(name) for name in table.header],
            ruler,
            *([_text(value) for value in row] for row in rows),
        ]
        blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return blocks


def _text(text: str) -> str:
    """Text in which no character means anything to Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", text)

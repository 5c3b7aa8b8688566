"""The report that gathers runs: a page, and beside it its tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
import itertools
import json
from pathlib import Path
import re
from typing import Any

import jinja2
from matplotlib.figure import Figure
import pandas as pd
from plotly.offline import get_plotlyjs

from experiments.agents.config import AGENT
from experiments.files import write_files
from experiments.reporting import tables
from experiments.reporting.collection import Collection, collect
from experiments.reporting.drawing import figures
from experiments.reporting.drawing.curves import entries
from experiments.reporting.drawing.plots import DPI, MOST_BANDS, draw
from experiments.reporting.missing import missing
from experiments.reporting.naming import heading, length, score_in_words, task
from experiments.reporting.ranking import FEWEST_SEEDS, ranking
from experiments.reporting.runs import SETTING
from experiments.reporting.verdict import verdict

TITLE = "Soft Weight Rescaling: experiments"


def write_report(out: Path, runs: Sequence[Path]) -> list[Path]:
    """Writes the report's files and returns their paths.

    They are ``report.html``, ``report.md`` and its figures, one for each setting that
    has data for one, ``ranking.csv`` with the rankings of all settings, and
    ``results.csv`` with a row for each evaluation.

    Args:
        out: the folder to write to.
        runs: folders of runs. Those that cannot be read are named in the report.

    Raises:
        UserError: if no run can be read, or the folder not be written.
    """
    collection = collect(runs)
    sections = []
    drawn: dict[str, Figure] = {}
    for setting, rows in collection.settings():
        section = _section(setting, rows)
        figure = draw(rows)
        if figure is not None:
            section["drawn"] = name = _file_name(setting, drawn)
            drawn[name] = figure
        sections.append(section)
    rankings = [section["ranking"].assign(**section["setting"]) for section in sections]
    ranked = pd.concat([pd.DataFrame(columns=SETTING), *rankings])
    told = _told(collection, sections)
    texts = {
        "report.html": _page(told),
        "report.md": _markdown(told),
        "ranking.csv": ranked.to_csv(index=False, float_format="%.6g"),
        "results.csv": collection.rows.to_csv(index=False),
    }

    def writer(text: str) -> Callable[[Path], object]:
        return lambda path: path.write_text(text, encoding="utf-8")

    def saver(figure: Figure) -> Callable[[Path], object]:
        return lambda path: figure.savefig(path, dpi=DPI)

    files = {name: writer(text) for name, text in texts.items()}
    files |= {name: saver(figure) for name, figure in drawn.items()}
    return write_files(out, files)


def _file_name(setting: Mapping[str, str], taken: Container[str]) -> str:
    """A name for a setting's figure; numbers tell settings of the same words apart."""
    words = "-".join(setting[n] for n in ("protocol", "dataset", "model"))
    name = re.sub("[^a-z0-9]+", "-", words.lower()).strip("-")
    numbered = (f"{name}-{i}.png" for i in itertools.count(2))
    return next(n for n in itertools.chain([f"{name}.png"], numbered) if n not in taken)


def _section(setting: dict[str, str], rows: pd.DataFrame) -> dict[str, Any]:
    """All that there is to say of one setting."""
    protocol, dataset, model = (setting[n] for n in ("protocol", "dataset", "model"))
    tasks, batch = setting["tasks"], setting["batch_size"]
    tested = setting["test_images"]
    size = [
        f"profile {setting['profile']}",
        f"{tasks} {task(protocol)}s" if tasks else "",
        length(setting),
        "" if protocol == AGENT else f"training images: {setting['train_images']}",
        "" if tested in ("", "all") else f"test images: {tested}",
        f"batches of {batch}" if batch else "",
        setting["optimizer"],
        "learning rate falling twice" if setting["decay"] == "True" else "",
    ]
    section: dict[str, Any] = {
        "setting": setting,
        "heading": heading(protocol, dataset, model),
        "size": ", ".join(filter(None, size)),
        "verdict": verdict(rows),
        "drawn": "",
        "unfinished": [
            first["name"]
            for first, drawn in entries(rows)
            if not drawn["finished"].any()
        ],
        "ranking": pd.DataFrame(),
    }
    drawn: list[tuple[str, str, dict[str, Any] | None]]
    if protocol == "proportionality":
        answers, further = [tables.proportionality(rows)], []
        drawn = [("ratios", w, spec) for w, spec in figures.proportionality(rows)]
    else:
        section["ranking"] = table = ranking(rows)
        answers = [tables.ranked(table, protocol)]
        further = [tables.ends(table, setting), tables.retention(rows)]
        drawn = [
            ("curves", "", figures.curves(rows)),
            ("scores", score_in_words(protocol), figures.scores(table, protocol)),
            ("lost", "", figures.lost(rows)),
        ]
    section["answers"] = [table for table in answers if table.rows]
    section["tables"] = [table for table in further if table.rows]
    section["figures"] = [figure for figure in drawn if figure[2] is not None]
    return section


def _page(told: Mapping[str, Any]) -> str:
    """The whole page; all that is not its own is escaped."""
    specs = [spec for section in told["sections"] for *_, spec in section["figures"]]
    options = {"dark": figures.dark_colors(specs), "most_bands": MOST_BANDS}
    # Plotly's script from its package, so that no other host is ever asked.
    return (
        _environment(autoescape=True)
        .get_template("page.html")
        .render(**told, options=options, plotly=get_plotlyjs())
    )


def _markdown(told: Mapping[str, Any]) -> str:
    """Tables and verdicts, of which no character means anything to Markdown."""

    def plain(value: object) -> str:
        return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", str(value))

    environment = _environment(autoescape=False, finalize=plain)
    return environment.get_template("report.md").render(**told)


def _environment(**options: Any) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("experiments.reporting"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )


def _told(
    collection: Collection, sections: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What both texts of a report are made of."""
    notes = _environment().get_template("notes.txt")
    return {
        "title": TITLE,
        "notes": notes.render(fewest=FEWEST_SEEDS).strip().split("\n\n"),
        "sections": sections,
        "across": tables.across_environments(collection.rows),
        "runs": tables.runs(collection),
        "configs": [
            (run.name, json.dumps(run.config, indent=2)) for run in collection.runs
        ],
        "missing": missing(collection),
    }

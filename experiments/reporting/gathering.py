"""The report that gathers runs: a page, and its tables as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.errors import UserError
from experiments.files import write_files
from experiments.reporting.cells import gather
from experiments.reporting.markdown import markdown
from experiments.reporting.page import html
from experiments.reporting.runs import read_run
from experiments.reporting.statistics import COVERAGE, FEWEST_SEEDS

TITLE = "Soft Weight Rescaling: experiments"

NOTES = (
    "Test accuracy is the fraction of test images classified correctly after the last"
    " epoch: mean ± standard deviation over seeds. The stream average is the mean over"
    " all evaluations of a run. Weight growth is a weight's norm over its initial one,"
    " mean over layers. Only seeds that finished count, and a dash means not measured.",
    "The interval is the percentile bootstrap's of the mean over seeds, nominally of"
    " 95 %. From few seeds it is too narrow: of normal values it holds the true mean"
    " in "
    + ", ".join(f"{share:.0%} of cases for {n}" for n, share in COVERAGE.items())
    + f" seeds. Fewer than {FEWEST_SEEDS} seeds have none.",
    "The paper's numbers (Oh et al., arXiv 2507.04683, tables 1 and 5) are means ±"
    " standard deviations over 5 seeds, 3 for VGG-16, of the whole training set; the"
    " difference is our mean minus the paper's. Like is compared with like only in rows"
    " with the profile “paper”. Of its other protocols the paper has curves alone.",
)


def write_report(out: Path, runs: Sequence[Path]) -> list[Path]:
    """Writes ``report.html`` and ``report.md``; returns their paths.

    Args:
        out: the folder to write to.
        runs: folders of runs.

    Raises:
        UserError: if a run cannot be read, or the folder not be written.
    """
    if not runs:
        raise UserError("no runs: name at least one folder that has a config.json")
    once = {folder.resolve(): folder for folder in runs}
    gathered = gather([read_run(folder) for folder in once.values()])
    page = html(TITLE, NOTES, gathered)
    tables = markdown(TITLE, NOTES, gathered)
    return write_files(
        out,
        {
            "report.html": lambda path: path.write_text(page, encoding="utf-8"),
            "report.md": lambda path: path.write_text(tables, encoding="utf-8"),
        },
    )

"""What a report cannot say, because nobody ran it or it did not finish."""

from __future__ import annotations

from collections.abc import Iterable

from experiments.protocols.stages import PROTOCOLS
from experiments.reporting.cells import Cell, Gathered, label
from experiments.reporting.published import PUBLISHED, published_as
from experiments.reporting.runs import Run

_OPTIONAL = (
    "stream_accuracy",
    "weight_growth",
    "dead_units",
    "effective_rank",
)


def missing(gathered: Gathered) -> dict[str, list[str]]:
    """Sentences by heading; a heading about which there is nothing is absent."""
    cells = gathered.cells
    found = {
        "Not finished": [line for cell in cells for line in _unfinished(cell)],
        "Run twice": [
            f"{_described(old)}: {old.run.name} (written {old.run.written_at}) gives"
            f" way to {new.run.name} (written {new.run.written_at}), the newer."
            for old, new in gathered.replaced
        ],
        "Not measured": [line for run in gathered.runs for line in _unmeasured(run)],
        "In the paper's tables, with no run at all": _without(
            _covered(cells), PUBLISHED
        ),
        "In the paper's tables, run only with another profile than paper": _without(
            _covered(cell for cell in cells if cell.run.profile == "paper"),
            _covered(cells) & PUBLISHED.keys(),
        ),
    }
    return {heading: lines for heading, lines in found.items() if lines}


def _unfinished(cell: Cell) -> list[str]:
    run = cell.run
    done, begun = len(cell.finished), len(cell.histories)
    if done >= run.seeds:
        return []
    short = [
        f"{cell.evaluations(history)} of {cell.expected(history)}"
        for seed, history in cell.histories.items()
        if seed not in cell.finished
    ]
    parts = [f"{done} of {run.seeds} seeds are finished"]
    if short:
        parts.append("others have " + ", ".join(short) + " evaluations")
    if begun < run.seeds:
        parts.append(f"{run.seeds - begun} left no row")
    return [f"{_described(cell)}, in {run.name}: {'; '.join(parts)}."]


def _unmeasured(run: Run) -> list[str]:
    if run.protocol == "proportionality":
        return []
    lines = []
    absent = [name for name in _OPTIONAL if name not in run.columns]
    if not any(name.startswith("growth/") for name in run.columns):
        absent.append("growth of each layer")
    if absent:
        lines.append(f"{run.name} has no columns for {', '.join(absent)}.")
    unrecorded = [key for key in ("profile", "train_images") if key not in run.config]
    if unrecorded:
        lines.append(f"{run.name} does not record its {' and '.join(unrecorded)}.")
    return lines


def _covered(cells: Iterable[Cell]) -> set[tuple[str, str, str, str]]:
    return {
        (
            cell.run.protocol,
            cell.run.dataset,
            cell.run.model,
            published_as(cell.run.model, cell.method),
        )
        for cell in cells
        if cell.finished
    }


def _without(
    covered: set[tuple[str, str, str, str]],
    wanted: Iterable[tuple[str, str, str, str]],
) -> list[str]:
    lines: dict[str, list[str]] = {}
    asked = set(wanted) - covered
    # In the order of the paper's tables.
    for cell in [cell for cell in PUBLISHED if cell in asked]:
        protocol, dataset, model, method = cell
        title, source = PROTOCOLS[protocol].title, PUBLISHED[cell].source
        line = f"{title} ({source}), {dataset}, {model}"
        lines.setdefault(line, []).append(label(method))
    return [f"{line}: {', '.join(methods)}." for line, methods in lines.items()]


def _described(cell: Cell) -> str:
    setting = cell.setting
    return (
        f"{PROTOCOLS[setting.protocol].title}, {setting.dataset}, {setting.model},"
        f" {label(cell.method)} (profile {setting.profile},"
        f" {setting.epochs} epochs a stage)"
    )

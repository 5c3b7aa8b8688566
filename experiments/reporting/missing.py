"""What a report cannot say, because nobody ran it or it did not finish."""

from __future__ import annotations

from collections.abc import Iterable

from experiments.reporting.collection import Collection
from experiments.reporting.naming import has_tasks, label, length, title
from experiments.reporting.published import (
    PUBLISHED,
    published_as,
    published_result,
)
from experiments.reporting.ranking import scores
from experiments.reporting.runs import Run

_OPTIONAL = ("stream_accuracy", "weight_growth", "dead_units", "effective_rank")

_Cell = tuple[str, str, str, str]


def missing(collection: Collection) -> dict[str, list[str]]:
    """Sentences by heading; a heading about which there is nothing is absent."""
    runs = collection.runs
    replaced = {(old, method) for old, method, _ in collection.replaced}
    shown = [(r, m) for r in runs for m in r.methods if (r, m) not in replaced]
    covered, published = _covered(runs), _covered(runs, as_published=True)
    found = {
        "Not readable": collection.unreadable,
        "Not finished": [line for pair in shown for line in _unfinished(*pair)],
        "Diverged": [line for run in runs for line in _diverged(run)],
        "Run twice": [
            f"{_described(old, method)}: {old.name} (written {old.written_at}) gives"
            f" way to {new.name} (written {new.written_at}), {_why(old, new)}."
            for old, method, new in collection.replaced
        ],
        "Not measured": [line for run in runs for line in _unmeasured(run)],
        "On other data": _of_other_data(runs),
        "In the paper's tables, with no run at all": _lines(PUBLISHED.keys() - covered),
        "In the paper's tables, run only shorter or trained otherwise": _lines(
            (covered & PUBLISHED.keys()) - published
        ),
    }
    return {heading: lines for heading, lines in found.items() if lines}


def _why(old: Run, new: Run) -> str:
    """Why a run gives way to another."""
    return "the newer" if new.written > old.written else "which has finished seeds"


def _unfinished(run: Run, method: str) -> list[str]:
    wanted, progress = len(run.seeds), run.progress
    progress = progress[progress.index.get_level_values("method") == method]
    short = progress[progress["done"] < progress["wanted"]]
    done = len(progress) - len(short)
    if done >= wanted:
        return []
    parts = [f"{done} of {wanted} seeds are finished"]
    if len(short):
        counts = (f"{row.done} of {row.wanted}" for row in short.itertuples())
        parts.append("others have " + ", ".join(counts) + " evaluations")
    if len(progress) < wanted:
        parts.append(f"{wanted - len(progress)} left no row")
    return [f"{_described(run, method)}, in {run.name}: {'; '.join(parts)}."]


def _diverged(run: Run) -> list[str]:
    if run.protocol == "proportionality":
        return []
    by_method = scores(run.rows[run.rows["finished"]]).groupby("method", sort=False)
    return [
        f"{_described(run, method)}, in {run.name}: {of_method['diverged'].sum()} of"
        f" {len(of_method)} finished seeds."
        for method, of_method in by_method
        if of_method["diverged"].any()
    ]


def _unmeasured(run: Run) -> list[str]:
    if run.protocol == "proportionality":
        return []
    optional = _OPTIONAL[1:] if has_tasks(run.protocol) else _OPTIONAL
    absent = [name for name in optional if name not in run.metrics]
    if not any(name.startswith("growth/") for name in run.metrics):
        absent.append("growth of each layer")
    lines = []
    if absent:
        lines.append(f"{run.name} has no columns for {', '.join(absent)}.")
    unrecorded = [
        name
        for name in ("profile", "train_images")
        if name not in run.config and run.setting[name]
    ]
    if unrecorded:
        lines.append(f"{run.name} does not record its {' and '.join(unrecorded)}.")
    return lines


def _of_other_data(runs: Iterable[Run]) -> list[str]:
    """Runs of one setting that learnt other images, which a report sets together."""
    digests: dict[tuple[str, ...], dict[str, str]] = {}
    for run in runs:
        if run.config.get("data"):  # Which older runs did not note.
            known = digests.setdefault(tuple(run.setting.values()), {})
            known.setdefault(run.config["data"], run.name)
    return [
        f"{' and '.join(known.values())} have one setting, and other images or labels"
        " (data in config.json): do not compare them."
        for known in digests.values()
        if len(known) > 1
    ]


def _covered(runs: Iterable[Run], as_published: bool = False) -> set[_Cell]:
    """Cells of the paper's tables of which a seed has finished.

    Args:
        runs: any.
        as_published: whether only what is as long as the paper's runs, and trained
            as they are with the same λ, counts.
    """
    found = set()
    for run in runs:
        setting = run.setting
        dataset, model = setting["dataset"], setting["model"]
        for method in run.rows[run.rows["finished"]]["method"].unique():
            name = published_as(model, method)
            alike = setting["profile"] == "paper" and published_result(
                setting, *run.entry(method)
            )
            if name is not None and (alike or not as_published):
                found.add((run.protocol, dataset, model, name))
    return found


def _lines(cells: Iterable[_Cell]) -> list[str]:
    asked, lines = set(cells), dict[str, list[str]]()
    for cell in [cell for cell in PUBLISHED if cell in asked]:  # In the paper's order.
        protocol, dataset, model, method = cell
        line = f"{title(protocol)} ({PUBLISHED[cell].source}), {dataset}, {model}"
        lines.setdefault(line, []).append(label(method))
    return [f"{line}: {', '.join(methods)}." for line, methods in lines.items()]


def _described(run: Run, method: str) -> str:
    setting = run.setting
    network = f"{setting['dataset']}, {setting['model']}"
    size = f"profile {setting['profile']}, {length(setting)}"
    return f"{title(run.protocol)}, {network}, {label(method)} ({size})"

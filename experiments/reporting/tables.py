"""A report's tables, as text that any format can set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments.agents.config import AGENT
from experiments.agents.environments import ENVIRONMENTS
from experiments.reporting.aggregates import (
    bootstrap_interval,
    interquartile_mean,
    normalized,
)
from experiments.reporting.collection import Collection
from experiments.reporting.drawing.curves import entries, retention as around_changes
from experiments.reporting.naming import (
    ENTRY,
    counted,
    digits,
    has_tasks,
    lower_is_better,
    names,
    score_in_words,
    task,
    title,
)
from experiments.reporting.published import Published, published_result
from experiments.reporting.ranking import ranking, scores
from experiments.reporting.runs import SETTING

EMPTY = "–"
"""Not measured, or not to be had."""

Columns = dict[str, Callable[[Any], str]]
"""By a column's name, what it says of a row of a ranking."""


class Table(NamedTuple):
    """A table.

    Attributes:
        caption: what it shows.
        header: names of its columns, the first of which names the row.
        rows: as many texts each as the header has.
    """

    caption: str
    header: list[str]
    rows: list[list[str]]


def number(value: float, form: str = ".4f") -> str:
    """A number as it is printed, with a dash for one that there is not."""
    return format(value, form).replace("-", "−") if np.isfinite(value) else EMPTY


def within(mean: float, deviation: float, form: str = ".4f") -> str:
    """Mean ± deviation, where there is one."""
    if not np.isfinite(deviation):
        return number(mean, form)
    return f"{number(mean, form)} ± {number(deviation, form)}"


def between(low: float, high: float, form: str = ".4f") -> str:
    """An interval, where there is one."""
    if not np.isfinite(low):
        return EMPTY
    return f"{number(low, form)} to {number(high, form)}"


_NAMES: Columns = {
    "method": lambda row: row.name,
    "λ": lambda row: row.coefficient or EMPTY,
}
_DIVERGED: Columns = {
    "diverged": lambda row: str(row.diverged) if row.diverged else EMPTY
}
_SEEDS: Columns = {"seeds": lambda row: str(row.seeds), **_DIVERGED}


def ranked(table: pd.DataFrame, protocol: str) -> Table:
    """A ranking with its scores, intervals and letters."""
    each = task(protocol)
    last = "test accuracy, last fifth" if has_tasks(protocol) else "final test accuracy"
    form = digits(protocol, ".4f")
    columns: Columns = {
        "score": lambda row: number(row.score, form),
        "95 % interval": lambda row: between(row.low, row.high, form),
        "letters": lambda row: row.letters or EMPTY,
        "interquartile mean": lambda row: number(getattr(row, "middle", np.nan), form),
        "95 % bootstrap interval": lambda row: (
            between(row.middle_low, row.middle_high, form)
            if hasattr(row, "middle")
            else EMPTY
        ),
        "first fifth": lambda row: number(row.first, form),
        "last fifth": lambda row: number(row.last, form),
        "change": lambda row: number(row.last - row.first, f"+{form}"),
        f"at {each}'s end, last fifth": lambda row: number(row.end, form),
        last: lambda row: number(row.test),
    }
    low = ", the lowest first" if lower_is_better(protocol) else ""
    caption = (
        f"Ranking by {score_in_words(protocol)}{low}. Methods that share a letter are"
        " not told apart at 5 %"
    )
    return _table(caption, _NAMES | columns | _SEEDS, table)


def ends(table: pd.DataFrame, setting: Mapping[str, str]) -> Table:
    """Values at the end of training, beside the paper's where it trained so too."""

    def paper(row: Any) -> Published:
        found = published_result(setting, row.method, row.coefficient, row.rate)
        return found or Published(np.nan, np.nan, "")

    columns: Columns = {
        "learning rate": lambda row: row.rate or EMPTY,
        "test accuracy": lambda row: within(row.test, row.test_deviation),
        "paper": lambda row: within(paper(row).mean, paper(row).deviation),
        "difference": lambda row: number(row.test - paper(row).mean, "+.4f"),
        "weight growth": lambda row: within(
            row.weight_growth, row.weight_growth_deviation, ".2f"
        ),
        "dead units": lambda row: number(row.dead_units, ".3g"),
        "effective rank": lambda row: number(row.effective_rank, ".3g"),
        "balancedness": lambda row: number(row.balancedness),
        "entropy": lambda row: number(row.entropy, ".3g"),
        "explained variance": lambda row: number(row.explained_variance, ".3g"),
    }
    return _table("At the end of training", _NAMES | columns | _SEEDS, table)


def brief(frame: pd.DataFrame) -> Table:
    """A run's ranking in as many columns as a terminal has."""
    protocol, table = frame["protocol"].iloc[0], ranking(frame)
    if has_tasks(protocol):
        form = digits(protocol, ".3f")
        columns: Columns = {
            "first": lambda row: number(row.first, form),
            "last": lambda row: number(row.last, form),
            "average": lambda row: within(row.score, row.high - row.score, form),
            "end": lambda row: number(row.end, form),
            "dead": lambda row: number(row.dead_units, ".2f"),
            "growth": lambda row: number(row.weight_growth, ".2f"),
        }
        return _table("", _NAMES | columns | _DIVERGED, table)
    continual = protocol.startswith("continual")
    columns = {
        "stream average" if continual else "last ten epochs": lambda row: within(
            row.score, row.deviation
        ),
        "test accuracy": lambda row: within(row.test, row.test_deviation),
        "growth": lambda row: within(
            row.weight_growth, row.weight_growth_deviation, ".2f"
        ),
        "balancedness": lambda row: number(row.balancedness),
    }
    return _table("", _NAMES | columns | _DIVERGED, table)


def retention(rows: pd.DataFrame) -> Table:
    """What a change of data does to test accuracy, mean over changes and seeds."""
    found = []
    for first, of_entry in entries(rows):
        table = around_changes(of_entry)
        if table["before"].notna().any():
            before = table["before"]
            lost = [100 * (table[name] - before).mean() for name in ("at", "after")]
            moved = [number(value, "+.2f") for value in lost]
            found.append([first["name"], number(before.mean()), *moved])
    return Table(
        "Test accuracy around changes of data; differences are in percentage points"
        " from the last before",
        ["method", "last before", "right at the change", "after one epoch"],
        found,
    )


def proportionality(rows: pd.DataFrame) -> Table:
    """Test accuracy of rescaled networks, for each ratio and rule for biases."""
    rows = rows[rows["finished"]]
    places = list(rows[["biases", "when"]].drop_duplicates().itertuples(index=False))
    alone, found = rows["name"].nunique() == 1, []
    for (name, ratio), of_ratio in rows.groupby(["name", "ratio"], sort=True):
        accuracy = of_ratio.groupby(["biases", "when"])["test_accuracy"]
        mean, deviation = accuracy.mean(), accuracy.std()
        cells = [within(mean.get(p, np.nan), deviation.get(p, np.nan)) for p in places]
        found.append([f"{ratio:g}" if alone else f"{name}, {ratio:g}", *cells])
    seeds = counted(rows["seed"].nunique(), "seed")
    return Table(
        f"Test accuracy after scaling once by a ratio ({seeds})",
        ["ratio", *(f"{biases}, {when}" for biases, when in places)],
        found,
    )


def across_environments(rows: pd.DataFrame) -> list[Table]:
    """What agents come to over all environments that change, for each network.

    Environments are set side by side if the same network plays several of them with
    fresh networks for each level, each as long as it was run at most. Methods are
    compared that were run in all of these, with the same λ and rate.

    Args:
        rows: of a collection.
    """
    rows = rows[rows["protocol"] == AGENT]
    found = []
    for model, of_model in rows.groupby("model", sort=False):
        by_entry = pd.DataFrame(_relative_scores(of_model)).dropna()
        if by_entry.shape[1] < 2 or by_entry.empty:
            continue
        strata = [list(row) for row in by_entry.itertuples(index=False)]
        middles = np.array([interquartile_mean(np.concatenate(s)) for s in strata])
        entries = by_entry.index.to_frame(index=False)
        cells = [
            [
                name,
                coefficient or EMPTY,
                number(middle, ".3f"),
                between(*bootstrap_interval(scored), ".3f"),
                str(sum(map(len, scored))),
            ]
            for name, coefficient, middle, scored in zip(
                names(entries), entries["coefficient"], middles, strata, strict=True
            )
        ]
        environments = " and ".join(sorted(map(str, by_entry.columns)))
        found.append(
            Table(
                f"Agents with {model} over {environments}: interquartile mean of"
                " average returns, of which 0 is acting at random and 1 the mean of"
                " fresh networks for each level",
                ["method", "λ", "score", "95 % bootstrap interval", "runs"],
                [cells[i] for i in np.argsort(-middles, kind="stable")],
            )
        )
    return found


def _relative_scores(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """Normalised scores of each entry's seeds, by environment.

    Args:
        rows: of one network.
    """
    found = {}
    by_length = rows.groupby(SETTING, sort=False)
    for values, of_setting in sorted(by_length, key=lambda pair: _steps(pair[0])):
        environment = dict(zip(SETTING, values, strict=True))["dataset"]
        by_seed = scores(of_setting)
        controls = by_seed[by_seed["method"] == "fresh"].groupby("rate")["score"]
        known = ENVIRONMENTS.get(environment)
        if known is None or not known.changes or not len(controls):
            continue
        entries = by_seed.groupby(ENTRY, sort=False)["score"]
        control = controls.mean().max()
        found[environment] = entries.agg(
            lambda of, low=known.random, high=control: normalized(
                of.to_numpy(), low, high
            )
        )
    return found


def _steps(setting: Sequence[str]) -> int:
    """Iterations of an agent, in all levels; 0 if its run does not say."""
    told = dict(zip(SETTING, setting, strict=True))
    return int(told["tasks"]) * int(told["iterations"] or 0)


def runs(collection: Collection) -> Table:
    """What was run, where and on what."""
    found = []
    for run in collection.runs:
        device = run.config.get("device")
        kind = str(device.get("kind", EMPTY)) if isinstance(device, dict) else EMPTY
        columns = {
            "folder": run.name,
            "protocol": title(run.protocol),
            "data, network": f"{run.setting['dataset']}, {run.setting['model']}",
            "methods": len(run.methods),
            "seeds": _seeds(run.seeds),
            "stages or tasks": run.stages,
            "epochs of each": run.setting["epochs"],
            "profile": run.setting["profile"],
            "training images": run.setting["train_images"],
            "test images": run.setting["test_images"],
            "device": kind if kind.isprintable() else ascii(kind),
            "written": run.written_at,
        }
        found.append([str(value) for value in columns.values()])
    return Table("Runs in this report", list(columns), found)


def _seeds(seeds: range) -> str:
    first = f", from {seeds[0]}" if seeds[0] else ""
    return f"{len(seeds)}{first}"


def _table(caption: str, columns: Columns, table: pd.DataFrame) -> Table:
    """A row for each of a ranking's, without columns that nobody filled."""
    rows = [[text(row) for text in columns.values()] for row in table.itertuples()]
    filled = [any(row[i] != EMPTY for row in rows) for i in range(len(columns))]
    shown = [i for i, name in enumerate(columns) if filled[i] or name in _NAMES]
    header = list(columns)
    return Table(
        caption, [header[i] for i in shown], [[row[i] for i in shown] for row in rows]
    )

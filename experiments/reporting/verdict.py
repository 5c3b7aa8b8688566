"""The answer of a run, in one sentence."""

from __future__ import annotations

import numpy as np
import pandas as pd

from experiments.reporting.naming import (
    CONTROLS,
    ENTRY,
    counted,
    digits,
    has_tasks,
    lower_is_better,
    measure,
    task,
    title,
)
from experiments.reporting.ranking import (
    FEWEST_SEEDS,
    LEVEL,
    paired_test,
    ranking,
    scores,
)

_MANY = 5


def verdict(frame: pd.DataFrame) -> str:
    """Who is best, from whom that can be told apart, and what plain training loses.

    Args:
        frame: rows of ``metrics.csv`` of one protocol, data set and model.

    Returns:
        One sentence.
    """
    if frame.empty:
        return "Nothing was measured."
    protocol, dataset, model = frame[["protocol", "dataset", "model"]].iloc[0]
    where = f"{title(protocol)} ({dataset}, {model})"
    if "finished" in frame:
        frame = frame[frame["finished"]]
    if frame.empty:
        return f"{where}: no seed has finished."
    if protocol == "proportionality":
        return f"{where}: {_proportionality(frame)}."
    table = ranking(frame)
    if table.empty:
        return f"{where}: no seed has a finite score."
    control = table["method"].isin(CONTROLS)
    best = table[~control].iloc[0] if not control.all() else table.iloc[0]
    others = table[~control].drop(index=best.name, errors="ignore")
    name = f"{best['name']} comes first, with" if len(others) else f"{best['name']} has"
    form = digits(protocol, ".4f")
    score = f"{measure(protocol)} {_with_interval(best, form)}"
    parts = [f"{name} {score} over {_seeds(table)}"]
    if len(others):
        parts.append(_told_apart(best, others))
    for row in table[control].drop(index=best.name, errors="ignore").itertuples():
        apart = not {*row.letters} & {*best["letters"]}
        told = ", which is told apart" if apart else ", not told apart"
        told = told if row.letters and best["letters"] else ""
        control = CONTROLS[row.method].format(task=task(protocol))
        parts.append(f"{control} has {format(row.score, form)}{told}")
    parts += _plain(frame, table, best.name)
    return f"{where}: {'; '.join(parts)}."


def _told_apart(best: pd.Series, others: pd.DataFrame) -> str:
    tested = others[others["letters"] != ""]
    if not best["letters"] or tested.empty:
        what = "nothing can be told apart"
        if len(tested):
            what = "it can be told apart from none"
        return f"with fewer than {FEWEST_SEEDS} seeds {what}"
    shared = np.array([bool({*row} & {*best["letters"]}) for row in tested["letters"]])
    alike, apart = tested["name"][shared].tolist(), tested["name"][~shared].tolist()
    few = others["name"].drop(index=tested.index).tolist()
    test = "(paired t tests, Holm, 5 %)"
    if few:
        test += f"; there are too few seeds to tell it from {_listed(few, 'the')}"
    if not apart:
        return f"it is not told apart from {_listed(alike, 'any of the')} {test}"
    of = "the" if alike or few else "all"
    rest = f", but not from {_listed(alike, 'the')}" if alike else ""
    return f"it is told apart from {_listed(apart, of)}{rest} {test}"


def _plain(frame: pd.DataFrame, table: pd.DataFrame, first: int) -> list[str]:
    """Whether plain training loses plasticity; nothing if that was not run."""
    plain = table[table["method"] == "vanilla"]
    if plain.empty:
        return []
    row = plain.iloc[0]
    protocol = frame["protocol"].iloc[0]
    form = digits(protocol, ".4f")
    if not has_tasks(protocol):
        return (
            []
            if row.name == first
            else [f"plain training has {format(row['score'], form)}"]
        )
    if frame["task"].nunique() < 2:
        return []
    found = scores(frame)

    def of(entry: pd.Series, column: str) -> pd.Series:
        mine = (found[ENTRY] == entry[ENTRY]).all(axis=1)
        return found[mine].set_index("seed")[column]

    sign = -1 if lower_is_better(protocol) else 1
    worse, tests = [], []

    def compare(one: pd.Series, other: pd.Series) -> None:
        worse.append(sign * (one - other).mean() < 0)
        tests.append(paired_test(one, other))

    numbers = (
        f"its {measure(protocol)} goes from {format(row['first'], form)} in the first"
        f" fifth of {task(protocol)}s to {format(row['last'], form)} in the last"
    )
    compare(of(row, "last"), of(row, "first"))
    fresh = table[table["method"] == "fresh"]
    if len(fresh):
        numbers += f", where a fresh network has {format(fresh['last'].iloc[0], form)}"
        compare(of(row, "last"), of(fresh.iloc[0], "last"))
    if np.isnan(tests).any():
        says = "so few seeds cannot tell whether plain training loses plasticity"
    elif all(worse) and max(tests) <= LEVEL:
        says = "plain training loses plasticity"
    else:
        says = "plain training is not shown to lose plasticity"
    return [f"{says}: {numbers}"]


def _proportionality(frame: pd.DataFrame) -> str:
    at_once = frame[frame["when"] == frame["when"].iloc[0]]
    means = at_once.groupby(["biases", "ratio"], sort=False)["test_accuracy"].mean()
    spans = [
        f"{100 * np.ptp(of_rule):.2f} points with its biases {biases}"
        for biases, of_rule in means.groupby(level="biases", sort=False)
    ]
    low, high = frame["ratio"].min(), frame["ratio"].max()
    return (
        f"scaling a trained network by {low:g} to {high:g} moves its test accuracy"
        f" {at_once['when'].iloc[0]} by at most " + " and ".join(spans)
    )


def _with_interval(row: pd.Series, form: str) -> str:
    if np.isnan(row["low"]):
        return format(row["score"], form)
    score, low, high = (format(row[name], form) for name in ("score", "low", "high"))
    return f"{score} (95 % interval {low} to {high})"


def _seeds(table: pd.DataFrame) -> str:
    low, high = table["seeds"].min(), table["seeds"].max()
    if low < high:
        return f"{low} to {high} seeds"
    return counted(low, "seed")


def _listed(names: list[str], of: str) -> str:
    if len(names) > _MANY:
        return f"{of} {len(names)} others"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))

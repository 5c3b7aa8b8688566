"""The answer of a run, in one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from experiments.reporting.naming import (
    CONTROLS,
    ENTRY,
    counted,
    digits,
    has_tasks,
    label,
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
        One sentence, which also says what diverged.
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
    whole = ranking(frame)
    lost = [
        f"{row.name} diverged in {row.diverged} of {counted(row.seeds, 'seed')}"
        for row in whole[whole["diverged"] > 0].itertuples()
    ]
    table = whole[np.isfinite(whole["score"])]
    if table.empty:
        return f"{where}: {'; '.join([*lost, 'nothing has a score'])}."
    controls = table["method"].isin(CONTROLS)
    best = table[~controls].iloc[0] if not controls.all() else table.iloc[0]
    others = table[~controls].drop(index=best.name, errors="ignore")
    name = f"{best['name']} comes first, with" if len(others) else f"{best['name']} has"
    form = digits(protocol, ".4f")
    score = f"{measure(protocol)} {_with_interval(best, form)}"
    parts = [f"{name} {score} over {_seeds(table)}"]
    if len(others):
        parts.append(_told_apart(best, others))
    for row in table[controls].drop(index=best.name, errors="ignore").itertuples():
        apart = not {*row.letters} & {*best["letters"]}
        told = ", which is told apart" if apart else ", not told apart"
        told = told if row.letters and best["letters"] else ""
        control = f"{CONTROLS[row.method].format(task=task(protocol))}{_rate(row)}"
        parts.append(f"{control} has {format(row.score, form)}{told}")
    plain = table[table["method"] == "vanilla"]
    if not has_tasks(protocol):  # Else its score has been told.
        plain = plain.drop(index=best.name, errors="ignore")
    parts += [_plain(frame, table, row) for row in plain.itertuples()]
    parts += lost
    return f"{where}: {'; '.join(filter(None, parts))}."


def _told_apart(best: pd.Series, others: pd.DataFrame) -> str:
    tested = others[others["letters"] != ""]
    if not best["letters"] or tested.empty:
        what = "nothing can be told apart"
        if len(tested):
            what = "it can be told apart from none"
        return f"with fewer than {FEWEST_SEEDS} seeds in common {what}"
    shared = np.array([bool({*row} & {*best["letters"]}) for row in tested["letters"]])
    alike, apart = tested["name"][shared].tolist(), tested["name"][~shared].tolist()
    few = others["name"].drop(index=tested.index).tolist()
    test = "(paired t tests, Holm, 5 %)"
    if few:
        from_ = _listed(few, "the")
        test += f"; there are too few seeds in common to tell it from {from_}"
    if not apart:
        return f"it is not told apart from {_listed(alike, 'any of the')} {test}"
    of = "the" if alike or few else "all"
    rest = f", but not from {_listed(alike, 'the')}" if alike else ""
    return f"it is told apart from {_listed(apart, of)}{rest} {test}"


def _plain(frame: pd.DataFrame, table: pd.DataFrame, plain: Any) -> str:
    """Whether plain training loses plasticity; nothing if that cannot be seen.

    Args:
        frame: of all that was run.
        table: its ranking.
        plain: the row of that for plain training, with one learning rate.
    """
    protocol = frame["protocol"].iloc[0]
    form, called = digits(protocol, ".4f"), f"plain training{_rate(plain)}"
    if not has_tasks(protocol):
        return f"{called} has {format(plain.score, form)}"
    if frame["task"].nunique() < 2:
        return ""
    found = scores(frame)

    def of(entry: Any, column: str) -> pd.Series:
        mine = (found[ENTRY] == [getattr(entry, name) for name in ENTRY]).all(axis=1)
        return found[mine].set_index("seed")[column]

    sign = -1 if lower_is_better(protocol) else 1
    worse, tests = [], []

    def compare(one: pd.Series, other: pd.Series) -> None:
        worse.append(sign * (one - other).mean() < 0)
        tests.append(paired_test(one, other))

    numbers = (
        f"its {measure(protocol)} goes from {format(plain.first, form)} in the first"
        f" fifth of {task(protocol)}s to {format(plain.last, form)} in the last"
    )
    compare(of(plain, "last"), of(plain, "first"))
    same = (table["method"] == "fresh") & (table["rate"] == plain.rate)
    for fresh in table[same].itertuples():
        numbers += f", where a fresh network has {format(fresh.last, form)}"
        compare(of(plain, "last"), of(fresh, "last"))
    if np.isnan(tests).any():
        says = f"so few seeds cannot tell whether {called} loses plasticity"
    elif all(worse) and max(tests) <= LEVEL:
        says = f"{called} loses plasticity"
    else:
        says = f"{called} is not shown to lose plasticity"
    return f"{says}: {numbers}"


def _rate(row: Any) -> str:
    """What is behind a method's name where it was run with several learning rates."""
    several = row.name != label(row.method)
    return f" (rate {row.rate})" if several else ""


def _proportionality(frame: pd.DataFrame) -> str:
    when, low, high = frame["when"].iloc[0], frame["ratio"].min(), frame["ratio"].max()
    names = frame["name"] if "name" in frame else frame["method"].map(label)
    moved = []
    for name, at_once in frame[frame["when"] == when].groupby(names, sort=False):
        found = at_once.groupby(["biases", "ratio"], sort=False)["test_accuracy"]
        spans = [
            f"{100 * np.ptp(means):.2f} points with its biases {biases}"
            for biases, means in found.mean().groupby(level="biases", sort=False)
        ]
        of = f"with {name} " if names.nunique() > 1 else ""
        moved.append(f"{of}by at most {' and '.join(spans)}")
    return (
        f"scaling a trained network by {low:g} to {high:g} moves its test accuracy"
        f" {when} {'; '.join(moved)}"
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
    # Or what has a comma in its name would look like two.
    names = [f"“{name}”" if "," in name else name for name in names]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))

"""Who is best, and who can be told apart from whom."""

from __future__ import annotations

from collections.abc import Sequence
import itertools
import string
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from experiments.agents.config import AGENT
from experiments.reporting.aggregates import bootstrap_interval, interquartile_mean
from experiments.reporting.naming import (
    ENTRY,
    end,
    has_tasks,
    lower_is_better,
    metric,
    names,
)

FEWEST_SEEDS = 3
"""Of fewer there is neither an interval nor a test."""

LEVEL = 0.05
"""Of tests; intervals hold the mean with probability one minus it."""

LAST_EPOCHS = 10
"""Over which test accuracy is averaged: a single epoch is noisier."""

_ENDS = (
    *("weight_growth", "dead_units", "effective_rank", "balancedness"),
    *("entropy", "explained_variance"),
)
_SEED = [*ENTRY, "seed"]


def scores(frame: pd.DataFrame) -> pd.DataFrame:
    """What each seed of each method came to.

    Args:
        frame: rows of ``metrics.csv`` of one protocol, data set and model. Where
            there is a column ``finished``, only rows that have it true count;
            ``coefficient`` and ``rate``, if there, tell entries apart.

    Returns:
        A row for each method, coefficient, rate and seed with ``score``; for
        streams the mean of the score's column over the first and the last fifth
        of the scored tasks (``first``, ``last``), of how tasks ended
        over the last fifth (``end``) and of test accuracy there (``test``); else
        the last test accuracy (``test``); last values of what else was measured;
        and ``diverged``, whether the loss or the score became anything but a
        number. Seeds whose score was not measured are left out.

    Raises:
        ValueError: if the rows are of several protocols, data sets or models.
    """
    for name in ("protocol", "dataset", "model"):
        if frame[name].nunique() > 1:
            raise ValueError(f"frame has several values of {name}: rank each alone")
    if "finished" in frame:
        frame = frame[frame["finished"]]
    absent = [name for name in ENTRY if name not in frame]
    frame = frame.assign(**dict.fromkeys(absent, ""))
    found = []
    for identity, rows in frame.groupby(_SEED, sort=False):
        of_seed = _tasks if has_tasks(rows["protocol"].iloc[0]) else _staged
        ends = {name: rows[name].iloc[-1] for name in _ENDS if name in rows}
        found.append(dict(zip(_SEED, identity, strict=True)) | of_seed(rows) | ends)
    columns = [*_SEED, "score", "first", "last", "end", "test", *_ENDS]
    table = pd.DataFrame(found, columns=[*columns, "diverged"])
    numbers = [name for name in columns if name not in ENTRY]
    table = table.astype({**dict.fromkeys(numbers, float), "diverged": bool})
    return table[np.isfinite(table["score"]) | table["diverged"]]


def _tasks(rows: pd.DataFrame) -> dict[str, Any]:
    rows = rows.sort_values("task")
    protocol = rows["protocol"].iloc[0]
    column, ended = metric(protocol), end(protocol)
    if "scored" in rows:
        rows = rows[rows["scored"] != 0]
    fifth = max(1, len(rows) // 5)
    late = rows.tail(fifth)
    return {
        "score": rows[column].mean(skipna=False),
        "first": rows[column].head(fifth).mean(skipna=False),
        "last": late[column].mean(skipna=False),
        "end": late[ended].mean() if ended in rows else np.nan,
        "test": late["test_accuracy"].mean() if "test_accuracy" in rows else np.nan,
        "diverged": rows[column].isna().any() or _diverged(rows),
    }


def _staged(rows: pd.DataFrame) -> dict[str, Any]:
    rows = rows.sort_values(["stage", "epoch"])
    last = rows[(rows["stage"] == rows["stage"].max()) & (rows["epoch"] >= 1)]
    late = last["test_accuracy"].tail(LAST_EPOCHS)
    score = late.mean(skipna=False)
    if rows["protocol"].iloc[0].startswith("continual"):
        stream = rows.get("stream_accuracy")
        score = np.nan if stream is None else stream.iloc[-1]
    return {
        "score": score,
        "test": rows["test_accuracy"].iloc[-1],
        # Not every epoch's loss is kept.
        "diverged": late.isna().any() or _diverged(last.tail(1)),
    }


def _diverged(rows: pd.DataFrame) -> bool:
    """Whether a loss is no number, of a run's folder or straight from a run."""
    if "diverged" in rows:
        return bool(rows["diverged"].any())
    return "train_loss" in rows and not np.isfinite(rows["train_loss"]).all()


def _middle(entries: Any) -> pd.DataFrame:
    """Interquartile means of the scores of agents, with their intervals."""
    found = {}
    for entry, rows in entries:
        values = rows["score"].to_numpy()
        found[entry] = (interquartile_mean(values), *bootstrap_interval([values]))
    columns = ["middle", "middle_low", "middle_high"]
    index = pd.MultiIndex.from_tuples(found, names=ENTRY)
    return pd.DataFrame([*found.values()], index=index, columns=columns)


def holm(p_values: np.ndarray) -> np.ndarray:
    """P values, each times the number of tests that are left when its turn comes.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.06, 0.06]

    References:
        Holm, *A simple sequentially rejective multiple test procedure*,
        Scandinavian Journal of Statistics 6, 1979.
    """
    order = np.argsort(p_values)
    left = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(p_values[order] * left)
    return np.minimum(adjusted, 1.0)


def paired_test(one: pd.Series, other: pd.Series) -> float:
    """P value of the paired t test, on what two series share of seeds.

    Returns:
        NaN for fewer than :data:`FEWEST_SEEDS`; 1 if all differences are the same,
        of which no deviation can be estimated.
    """
    difference = (one - other).dropna()
    if len(difference) < FEWEST_SEEDS:
        return np.nan
    rounding = 1e-9 * max(one.abs().max(), other.abs().max())
    if np.ptp(difference) <= rounding:
        return 1.0
    return float(stats.ttest_1samp(difference, 0).pvalue)


def comparisons(by_seed: pd.DataFrame) -> dict[tuple[int, int], float]:
    """P values of all pairs of columns, after Holm.

    Args:
        by_seed: a row for each seed, a column for each entry; any two have enough
            seeds in common. Seeds are paired: the same seed means the same data, tasks
            and initialization.
    """
    found = {
        (i, j): paired_test(by_seed.iloc[:, i], by_seed.iloc[:, j])
        for i, j in itertools.combinations(range(by_seed.shape[1]), 2)
    }
    return dict(zip(found, holm(np.array([*found.values()])).tolist(), strict=True))


def all_tested(by_seed: pd.DataFrame) -> list[int]:
    """Columns of which any two have enough seeds in common for a test.

    Those that share too few with most others are left out, the later of two such
    first. Who is not compared must not look as if no difference had been found.

    Args:
        by_seed: as for :func:`comparisons`.
    """
    measured = by_seed.notna().to_numpy(dtype=int)
    untested = (measured.T @ measured) < FEWEST_SEEDS
    left = list(range(by_seed.shape[1]))
    while (missing := untested[np.ix_(left, left)].sum(axis=1)).any():
        del left[len(left) - 1 - int(np.argmax(missing[::-1]))]
    return left


def letters(number: int, apart: Sequence[tuple[int, int]]) -> list[str]:
    """Letters of which two share one exactly if they are not told apart.

    Args:
        number: how many there are, the best first.
        apart: pairs that are told apart.

    Returns:
        For each its letters, the best's first.

    References:
        Piepho, *An algorithm for a letter-based representation of all-pairwise
        comparisons*, Journal of Computational and Graphical Statistics 13, 2004.
    """
    groups = [frozenset(range(number))]
    for pair in apart:
        split = [
            part
            for group in groups
            for part in ([group - {i} for i in pair] if group >= {*pair} else [group])
        ]
        split = list(dict.fromkeys(split))
        groups = [g for g in split if not any(g < other for other in split)]
    for group in sorted(groups, key=len):  # Some say no more than others do.
        rest = [other for other in groups if other != group]
        pairs = itertools.combinations_with_replacement(group, 2)
        if all(any({*pair} <= other for other in rest) for pair in pairs):
            groups = rest
    groups.sort(key=sorted)
    return [
        "".join(_letter(k) for k, group in enumerate(groups) if i in group)
        for i in range(number)
    ]


def _letter(place: int) -> str:
    known = string.ascii_letters
    return known[place] if place < len(known) else chr(0x100 + place)


def ranking(frame: pd.DataFrame) -> pd.DataFrame:
    """The methods of a setting, the best first.

    Args:
        frame: as for :func:`scores`.

    Returns:
        A row for each method, coefficient and rate: its ``name``, the number of
        ``seeds`` and of those that ``diverged``, means over them of what
        :func:`scores` gives, the ``deviation``
        of the score and of two others over seeds, the t interval of the mean score
        (``low``, ``high``; NaN for fewer than :data:`FEWEST_SEEDS` seeds), for agents
        the interquartile mean of the scores with its bootstrap interval (``middle``,
        ``middle_low``, ``middle_high``), and
        ``letters``: methods that share one are not told apart by paired t tests on
        the seeds' differences, at 5 % after Holm's correction for all pairs. They
        are empty where there are too few seeds, or too few in common with others,
        for any test. A method of which a seed has no score has none either, and is
        the last: the mean of those that are left would say that it does well.
    """
    found = scores(frame)
    entries = found.groupby(ENTRY, sort=False)
    table = entries.mean(numeric_only=True).drop(columns="seed")
    table["diverged"] = entries["diverged"].sum()
    table.insert(0, "seeds", entries.size())
    for name in ("score", "test", "weight_growth"):
        deviation = "deviation" if name == "score" else f"{name}_deviation"
        table[deviation] = entries[name].std()
    whole = entries["score"].count() == table["seeds"]
    of_score = ["score", "first", "last", "end", "deviation"]
    table[of_score] = table[of_score].where(whole, axis="index")
    enough = whole & (table["seeds"] >= FEWEST_SEEDS)
    error = (table["deviation"] / np.sqrt(table["seeds"])).where(enough)
    half = error * stats.t.isf(LEVEL / 2, table["seeds"] - 1)
    table["low"], table["high"] = table["score"] - half, table["score"] + half
    if len(table):
        ascending = lower_is_better(frame["protocol"].iloc[0])
        table = table.sort_values("score", ascending=ascending, kind="stable")
    if frame["protocol"].iloc[0] == AGENT:
        table = table.join(_middle(entries))
    by_seed = found.pivot(index="seed", columns=ENTRY, values="score")
    several = [entry for entry in table.index if enough[entry]]
    several = [several[i] for i in all_tested(by_seed[several])]
    tests = comparisons(by_seed[several])
    apart = [pair for pair, p in tests.items() if p <= LEVEL]
    table["letters"] = ""
    if tests:
        table.loc[several, "letters"] = letters(len(several), apart)
    table = table.reset_index()
    table.insert(0, "name", names(table))
    return table

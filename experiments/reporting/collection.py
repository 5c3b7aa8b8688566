"""Many runs as one table of rows, with the newest of what was run twice.

What was cut short in its first seed replaces nothing, however new it is.
Runs of the same that share no seed go together: the later added seeds to the earlier.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from experiments.errors import UserError
from experiments.methods import METHODS
from experiments.reporting.naming import ENTRY, KNOWN, names
from experiments.reporting.runs import SETTING, Run, read_run


class Collection(NamedTuple):
    """All that a report speaks of.

    Attributes:
        runs: in the order given.
        rows: of all that is shown, with a ``name`` for each entry of a setting.
        replaced: a run, its method, and the run that is shown instead.
        unreadable: why folders could not be read.
    """

    runs: list[Run]
    rows: pd.DataFrame
    replaced: list[tuple[Run, str, Run]]
    unreadable: list[str]

    def settings(self) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
        """What two numbers must share to be compared, and the rows that do."""
        for values, rows in self.rows.groupby(SETTING, sort=False):
            yield dict(zip(SETTING, values, strict=True)), rows


def collect(folders: Sequence[Path]) -> Collection:
    """Reads runs.

    Raises:
        UserError: if none can be read.
    """
    runs, unreadable = [], []
    different = {}
    for folder in folders:
        try:
            different[folder.resolve()] = folder
        except ValueError:
            no_path = f"{str(folder)!r} is no path: name a run's folder"
            raise UserError(no_path) from None
    for folder in different.values():
        try:
            runs.append(read_run(folder))
        except UserError as error:
            unreadable.append(str(error))
    if not runs:
        none = "no runs: name at least one folder that has a config.json"
        raise UserError(unreadable[0] if unreadable else none)
    shown, replaced = _newest(runs)
    rows = [
        run.rows[[(run, method) in shown for method in methods]]
        for run in runs
        if len(methods := run.metrics["method"])
    ]
    together = pd.concat(rows, ignore_index=True) if rows else runs[0].rows
    return Collection(runs, _in_order(together), replaced, unreadable)


def _newest(
    runs: Sequence[Run],
) -> tuple[set[tuple[Run, str]], list[tuple[Run, str, Run]]]:
    """Runs with the methods that are shown of them; and those that are not."""
    same: dict[tuple[str, ...], list[Run]] = {}
    replaced = []
    ordered = sorted(runs, key=lambda run: (run.has_finished_seeds, run.written))
    for run in ordered[::-1]:
        for method in run.methods:
            newer = same.setdefault((*run.setting.values(), *run.entry(method)), [])
            instead = next((r for r in newer if _meet(r.seeds, run.seeds)), None)
            if instead is None:
                newer.append(run)
            else:
                replaced.append((run, method, instead))
    gone = {(run, method) for run, method, _ in replaced}
    shown = {(run, method) for run in runs for method in run.methods} - gone
    return shown, replaced[::-1]


def _meet(one: range, other: range) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Protocols and methods as their tables have them; what is unknown at the end."""
    ranks = {name: place for place, name in enumerate(METHODS)}
    rows = rows.assign(
        _protocol=rows["protocol"].map(KNOWN.index),
        _method=[ranks.get(method, len(ranks)) for method in rows["method"]],
    )
    order = ["_protocol", *SETTING[1:], "_method", *ENTRY]
    rows = rows.sort_values(order, kind="stable")
    rows = rows.drop(columns=["_protocol", "_method", "name"], errors="ignore")
    named = [
        of_setting[ENTRY]
        .drop_duplicates()
        .assign(**dict(zip(SETTING, values, strict=True)))
        for values, of_setting in rows.groupby(SETTING, sort=False)
    ]
    if not named:
        return rows.assign(name="")
    entries = pd.concat([e.assign(name=names(e)) for e in named])
    return rows.merge(entries, on=[*SETTING, *ENTRY], how="left")

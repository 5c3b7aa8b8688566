"""Reads the folders that runs leave: ``config.json`` and ``metrics.csv``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
import csv
import dataclasses
import datetime
import functools
import gzip
import json
from pathlib import Path
import reprlib
from typing import Any
import zlib

import numpy as np
import pandas as pd

from experiments.agents.config import AGENT
from experiments.errors import UserError
from experiments.methods import METHODS
from experiments.methods.coefficients import in_words
from experiments.protocols.stages import PROTOCOLS
from experiments.reporting.naming import KNOWN, has_tasks, metric

SETTING = [
    *("protocol", "dataset", "model", "profile", "epochs", "tasks"),
    *("train_images", "test_images", "batch_size", "iterations", "optimizer", "decay"),
]
"""What two numbers must share to be compared: columns of :attr:`Run.rows`."""

BEGUN = "checkpoint/run.json"
"""What a run's folder has as long as it is not finished."""

_COUNTED = ("seed", "stage", "epoch", "task")

_FRACTIONS = (
    *("test_accuracy", "stream_accuracy", "online_accuracy", "end_accuracy"),
    "dead_units",
)

_TEXT = ("protocol", "dataset", "model", "method", "game", "biases", "when")


def key(protocol: str) -> list[str]:
    """The columns that tell one evaluation of a seed from another."""
    if protocol == "proportionality":
        return ["ratio", "biases", "when"]
    return ["task"] if has_tasks(protocol) else ["stage", "epoch"]


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A run's folder in memory.

    Attributes:
        folder: where it was read from.
        config: the whole of ``config.json``.
        metrics: ``metrics.csv``, in the order of training; names are text, all
            else float64 with NaN for what was not measured. To these comes
            ``diverged``, whether the loss is there and no number.
        written: when ``metrics.csv`` was last written, seconds since 1970.
    """

    folder: Path
    config: Mapping[str, Any]
    metrics: pd.DataFrame
    written: float

    @property
    def name(self) -> str:
        """The folder as it was named, whatever characters that took."""
        return _printable(self.folder)

    @property
    def written_at(self) -> str:
        """The time of :attr:`written`."""
        moment = datetime.datetime.fromtimestamp(self.written, datetime.UTC)
        return f"{moment:%Y-%m-%d %H:%M} UTC"

    @property
    def protocol(self) -> str:
        """Name of the experiment."""
        return self.config["protocol"]

    @property
    def methods(self) -> list[str]:
        """Those it was to have, then any others that it has."""
        return list(dict.fromkeys([*self.config["methods"], *self.metrics["method"]]))

    @property
    def seeds(self) -> range:
        """Those it was to have."""
        first = self.config.get("first_seed") or 0
        return range(first, first + self.config["seeds"])

    @property
    def stages(self) -> int:
        """Spans between changes of data."""
        if has_tasks(self.protocol):
            return self.config["tasks"]
        return self.config.get("stages") or PROTOCOLS[self.protocol].stages

    @property
    def setting(self) -> dict[str, str]:
        """The values of :data:`SETTING`, in words."""
        unknown = {
            **dict.fromkeys(("profile", "train_images"), "not recorded"),
            "decay": "False",
        }
        if self.protocol == AGENT:  # Who make their data themselves.
            unknown["train_images"] = ""
        null = {"profile": "not recorded", "train_images": "all", "test_images": "all"}
        found = {}
        for name in SETTING:
            value = self.config.get(name, unknown.get(name, ""))
            found[name] = null.get(name, "") if value is None else str(value)
        return found

    def entry(self, method: str) -> tuple[str, str, str]:
        """The method, its coefficient and its learning rate, in words."""
        rate = self.config.get("learning_rate")
        if method in METHODS and METHODS[method].rate is not None:
            rate = METHODS[method].rate  # Which older runs did not note.
        rate = (self.config.get("learning_rates") or {}).get(method, rate)
        coefficient = (self.config.get("coefficients") or {}).get(method)
        return method, in_words(coefficient), in_words(rate)

    @functools.cached_property
    def progress(self) -> pd.DataFrame:
        """Evaluations of each method and seed: ``done`` and ``wanted``."""
        seeds = self.metrics.groupby(["method", "seed"], sort=False)
        if self.protocol == "proportionality":
            wanted = len(self.metrics[key(self.protocol)].drop_duplicates())
            return pd.DataFrame({"done": seeds.size(), "wanted": wanted})
        if has_tasks(self.protocol):
            return pd.DataFrame({"done": seeds.size(), "wanted": self.stages})
        # Those right at a change of data come on top. Training from scratch knows
        # the last stage of a warm start alone.
        trained = self.metrics.assign(trained=self.metrics["epoch"] >= 1)
        done = trained.groupby(["method", "seed"], sort=False)["trained"].sum()
        stages = self.stages + 1 - seeds["stage"].min()
        wanted = self.config["epochs"] * stages
        return pd.DataFrame({"done": done, "wanted": wanted.astype(int)})

    @property
    def has_finished_seeds(self) -> bool:
        """Whether any seed has all its evaluations."""
        return bool((self.progress["done"] >= self.progress["wanted"]).any())

    @functools.cached_property
    def rows(self) -> pd.DataFrame:
        """The metrics, with all that tells them from other runs'.

        ``finished`` is whether the whole of a row's seed is there.
        """
        progress = self.progress["done"] >= self.progress["wanted"]
        seeds = pd.MultiIndex.from_frame(self.metrics[["method", "seed"]])
        words = {method: self.entry(method) for method in self.methods}
        methods = self.metrics["method"]
        return self.metrics.assign(
            **self.setting,
            coefficient=[words[method][1] for method in methods],
            rate=[words[method][2] for method in methods],
            finished=progress.reindex(seeds).to_numpy(dtype=bool),
            run=self.name,
        )


def find_runs(roots: Sequence[Path]) -> list[Path]:
    """Every folder at or below some that has a run, finished or not.

    One that has none is returned itself, so that it can be said what it lacks.
    """
    return [run for root in roots for run in _below(root) or [root]]


def _below(root: Path) -> list[Path]:
    finished = {path.parent for path in root.rglob("config.json")}
    begun = {path.parents[1] for path in root.rglob(BEGUN)}
    # What is being written is no run yet.
    return sorted(f for f in finished | begun if not f.name.startswith("."))


def read_run(folder: Path) -> Run:
    """Reads a run, whose metrics may be packed: ``gzip metrics.csv``.

    Raises:
        UserError: if a file is missing, or is not what a run writes.
    """
    config = _read_config(folder / "config.json", folder)
    path = folder / "metrics.csv"
    packed = path.with_name(f"{path.name}.gz")
    if packed.exists() and not path.exists():
        path = packed
    try:
        opened = gzip.open if path == packed else open
        with opened(path, "rt", newline="", encoding="utf-8") as file:
            metrics = _read_metrics(path, file, config)
        written = path.stat().st_mtime
    except FileNotFoundError:
        raise UserError(f"{folder} has no metrics.csv: name a run's folder") from None
    except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is no table of numbers: {error}") from error
    except EOFError:
        raise UserError(f"{path} is not whole: copy it again") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return Run(folder, config, metrics, written)


def _read_config(path: Path, folder: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (folder / BEGUN).exists():
            raise UserError(
                f"{folder} is not finished: give its command again, and it goes on"
            ) from None
        raise UserError(
            f"{folder} has no config.json: make a run first, or name its folder"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no object")

    tasks = config.get("protocol") in [*filter(has_tasks, KNOWN)]
    for name, (fits, what) in _FIELDS.items():
        needed = name in _NEEDED or (name == "tasks" and tasks)
        value = config.get(name)
        if not (fits(value) if needed or value is not None else True):
            raise UserError(f"{path}: {name} must be {what}, not {reprlib.repr(value)}")
    return config


def _read_metrics(
    path: Path, lines: Iterable[str], config: Mapping[str, Any]
) -> pd.DataFrame:
    reader = csv.reader(lines)
    header = next(reader, [])
    place = key(config["protocol"])
    needed = ("protocol", "dataset", "model", "method", "seed", *place)
    for name in (*needed, metric(config["protocol"])):
        if name not in header:
            raise UserError(f"{path} has no column {name!r}")
    if len(set(header)) < len(header) or not all(map(_is_name, header)):
        raise UserError(f"{path}: the names of columns must be printable and unique")
    rows, numbers = [], []
    for row in reader:
        if len(row) != len(header):
            raise UserError(
                f"{path}, line {reader.line_num}: {len(row)} values for"
                f" {len(header)} columns"
            )
        rows.append(row)
        numbers.append(reader.line_num)
    text = pd.DataFrame(rows, columns=header, index=numbers, dtype=object)

    def check(fits: pd.Series, name: str, what: str) -> None:
        wrong = text.index[~fits.astype(bool)]
        if len(wrong):
            value = text.loc[wrong[0], name]
            raise UserError(
                f"{path}, line {wrong[0]}: {name} {what} {reprlib.repr(value)}"
            )

    found = {}
    for name, column in text.items():
        if name in _TEXT:
            found[name] = column
            check(column.map(_is_name), name, "must be a name, not")
        else:
            found[name] = pd.to_numeric(column, errors="coerce").astype(float)
            read = found[name].notna() | column.str.strip().str.lower().isin(
                ["", "nan"]
            )
            if name in ("seed", *place):  # Which are never unknown.
                read = found[name].abs() < float("inf")
            check(read, name, "must be a number, not")
            if name in _COUNTED:
                whole = (found[name] >= 0) & (found[name] % 1 == 0)
                check(whole, name, "must be a whole number from 0, not")
            if name in _FRACTIONS:
                fraction = found[name].isna() | found[name].between(0, 1)
                check(fraction, name, "must be from 0 to 1, not")
    for name in ("protocol", "dataset", "model"):
        same = text[name] == config[name]
        check(
            same, name, f"is not {reprlib.repr(config[name])}, as in config.json, but"
        )
    loss = text.get("train_loss", pd.Series("", text.index)).str.strip()
    numbers = np.isfinite(pd.to_numeric(loss, errors="coerce"))
    found["diverged"] = (loss != "") & ~numbers
    metrics = pd.DataFrame(found)
    identity = ["method", "seed", *place]
    if metrics.duplicated(identity).any():
        line = metrics.index[metrics.duplicated(identity)][0]
        raise UserError(f"{path}, line {line}: a second row of the same evaluation")
    order = [] if config["protocol"] == "proportionality" else place
    return metrics.sort_values(order, kind="stable") if order else metrics


def _printable(path: Path) -> str:
    return str(path) if str(path).isprintable() else ascii(str(path))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.strip() != "" and value.isprintable()


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) <= _MOST


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and _is_number(value) and value >= 0


def _is_count(value: object) -> bool:
    return _is_seed(value) and value != 0


def _are_numbers(value: object) -> bool:
    """Numbers by name."""
    if not isinstance(value, dict):
        return False
    return all(_is_name(k) and _is_number(v) for k, v in value.items())


def _are_coefficients(value: object) -> bool:
    """Numbers by name, or several of them by name."""
    if not isinstance(value, dict):
        return False
    return all(_is_number(v) or _are_numbers(v) for v in value.values())


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_name, value))


_MOST = 10**9  # More is a mistake, and would overflow later.
_COUNT = (_is_count, "a whole number from 1")
_SIZE = (_is_count, "a whole number or null")
_NAME = (_is_name, "a name")
_NEEDED = ("protocol", "dataset", "model", "methods", "seeds", "epochs")

_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "protocol": (KNOWN.__contains__, "one of " + ", ".join(KNOWN)),
    **dict.fromkeys(("dataset", "model", "profile", "optimizer", "data"), _NAME),
    "methods": (_are_names, "a list of names"),
    **dict.fromkeys(("seeds", "epochs", "tasks", "stages"), _COUNT),
    "first_seed": (_is_seed, "a whole number from 0"),
    **dict.fromkeys(("train_images", "test_images", "batch_size"), _SIZE),
    "iterations": _COUNT,
    "learning_rate": (_is_number, "a number"),
    "decay": (_is_flag, "true or false"),
    "learning_rates": (_are_numbers, "an object of numbers"),
    "coefficients": (_are_coefficients, "an object of numbers, or of objects of them"),
}
"""What ``config.json`` must hold, where it holds it."""

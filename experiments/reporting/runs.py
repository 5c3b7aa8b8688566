"""Reads the folders that runs leave: ``config.json`` and ``metrics.csv``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import csv
import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np

from experiments.errors import UserError
from experiments.methods.coefficients import in_words
from experiments.protocols.stages import PROTOCOLS

_TEXT = ("protocol", "dataset", "model", "method", "biases", "when")
_NEEDED = ("protocol", "dataset", "model", "method", "seed")
# What tells one row of a seed from another.
_TRAINING_KEY = ("stage", "epoch")
_PROPORTIONALITY_KEY = ("ratio", "biases", "when")


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A run's folder in memory.

    Attributes:
        folder: where it was read from.
        config: the whole of ``config.json``.
        columns: of ``metrics.csv``, all of one length: text as str arrays, the
            others float64 with NaN for what was not measured.
        written: when ``metrics.csv`` was last written, seconds since 1970.
    """

    folder: Path
    config: Mapping[str, Any]
    columns: Mapping[str, np.ndarray]
    written: float

    @property
    def name(self) -> str:
        """The folder as it was named, whatever characters that took."""
        name = str(self.folder)
        return name if name.isprintable() else ascii(name)

    @property
    def written_at(self) -> str:
        """The time of :attr:`written`."""
        moment = datetime.datetime.fromtimestamp(self.written, datetime.UTC)
        return f"{moment:%Y-%m-%d %H:%M} UTC"

    @property
    def protocol(self) -> str:
        """Name in :data:`PROTOCOLS`."""
        return self.config["protocol"]

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.config["dataset"]

    @property
    def model(self) -> str:
        """Name of the network."""
        return self.config["model"]

    @property
    def methods(self) -> tuple[str, ...]:
        """Those the run was to have."""
        return tuple(self.config["methods"])

    @property
    def seeds(self) -> int:
        """How many it was to have."""
        return self.config["seeds"]

    @property
    def epochs(self) -> int:
        """Length of a stage."""
        return self.config["epochs"]

    @property
    def stages(self) -> int:
        """Spans between changes of data."""
        return self.config.get("stages", PROTOCOLS[self.protocol].stages)

    @property
    def profile(self) -> str:
        """``quick``, ``paper`` or ``custom``."""
        return self.config.get("profile") or "not recorded"

    @property
    def train_images(self) -> str:
        """Size of the training subset, or ``all``."""
        if "train_images" not in self.config:
            return "not recorded"
        size = self.config["train_images"]
        return "all" if size is None else str(size)

    def coefficient(self, method: str) -> str:
        """The method's coefficient in words, empty if it has none."""
        return in_words(self.config.get("coefficients", {}).get(method))

    def history(self, method: str, seed: int) -> dict[str, np.ndarray]:
        """The columns of one seed, in the order of training."""
        of_seed = (self.columns["method"] == method) & (self.columns["seed"] == seed)
        rows = np.flatnonzero(of_seed)
        if self.protocol != "proportionality":
            stages, epochs = self.columns["stage"][rows], self.columns["epoch"][rows]
            rows = rows[np.lexsort((epochs, stages))]
        return {name: values[rows] for name, values in self.columns.items()}


def find_runs(root: Path) -> list[Path]:
    """Every folder at or below ``root`` that has a ``config.json``.

    Raises:
        UserError: if there is none.
    """
    found = sorted(path.parent for path in root.rglob("config.json"))
    if not found:
        raise UserError(f"no run in {root}: make one first, or name its folder")
    return found


def read_run(folder: Path) -> Run:
    """Reads a run.

    Raises:
        UserError: if a file is missing, or is not what a run writes.
    """
    config = _read_config(folder / "config.json", folder)
    path = folder / "metrics.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            columns = _read_columns(path, file, config)
        written = path.stat().st_mtime
    except FileNotFoundError:
        raise UserError(f"{folder} has no metrics.csv: name a run's folder") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no table of numbers: {error}") from error
    return Run(folder=folder, config=config, columns=columns, written=written)


def _read_config(path: Path, folder: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} has no config.json: name a run's folder") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no object")

    def check(name: str, fits: bool, what: str) -> None:
        if not fits:
            raise UserError(f"{path}: {name} must be {what}, not {config.get(name)!r}")

    protocol = config.get("protocol")
    check("protocol", protocol in list(PROTOCOLS), "one of " + ", ".join(PROTOCOLS))
    for name in ("dataset", "model"):
        check(name, _is_name(config.get(name)), "a name")
    methods = config.get("methods")
    check(
        "methods",
        isinstance(methods, list) and all(map(_is_name, methods)),
        "a list of names",
    )
    for name in ("seeds", "epochs"):
        check(name, _is_count(config.get(name)), "a whole number from 1")
    check("stages", _is_count(config.get("stages", 1)), "a whole number from 1")
    size = config.get("train_images")
    check("train_images", size is None or _is_count(size), "a whole number or null")
    profile = config.get("profile")
    check("profile", profile is None or _is_name(profile), "a name")
    coefficients = config.get("coefficients", {})
    check(
        "coefficients",
        isinstance(coefficients, dict)
        and all(
            _is_number(value)
            or (
                isinstance(value, dict)
                and all(_is_name(k) and _is_number(v) for k, v in value.items())
            )
            for value in coefficients.values()
        ),
        "an object of numbers, or of objects of numbers",
    )
    return config


def _read_columns(
    path: Path, lines: Iterable[str], config: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    reader = csv.reader(lines)
    header = next(reader, [])
    key = _key(config["protocol"])
    for name in (*_NEEDED, *key, "test_accuracy"):
        if name not in header:
            raise UserError(f"{path} has no column {name!r}")
    if len(set(header)) < len(header) or not all(map(_is_name, header)):
        raise UserError(f"{path}: the names of columns must be printable and unique")
    values: dict[str, list[Any]] = {name: [] for name in header}
    seen: set[tuple[Any, ...]] = set()
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if len(row) != len(header):
            raise UserError(f"{where}: {len(row)} values for {len(header)} columns")
        for name, text in zip(header, row, strict=True):
            values[name].append(_value(name, text, where))
        for name in ("protocol", "dataset", "model"):
            if values[name][-1] != config[name]:
                raise UserError(
                    f"{where}: {name} is {values[name][-1]!r}, but {config[name]!r}"
                    " in config.json"
                )
        identity = tuple(values[name][-1] for name in ("method", "seed", *key))
        if identity in seen:
            raise UserError(f"{where}: a second row of the same evaluation")
        seen.add(identity)
    return {
        name: np.array(column, dtype=object if name in _TEXT else np.float64)
        for name, column in values.items()
    }


def _key(protocol: str) -> tuple[str, ...]:
    return _PROPORTIONALITY_KEY if protocol == "proportionality" else _TRAINING_KEY


def _value(name: str, text: str, where: str) -> str | float:
    if name in _TEXT:
        if not _is_name(text):
            raise UserError(f"{where}: {name} must be a name, not {text!r}")
        return text
    try:
        return float(text) if text else np.nan
    except ValueError:
        raise UserError(f"{where}: {name} must be a number, not {text!r}") from None


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.strip() != "" and value.isprintable()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1

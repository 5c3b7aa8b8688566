"""What a run leaves behind: its folder, its table and its figure."""

from __future__ import annotations

from collections.abc import Sequence
import csv
import os
from pathlib import Path
import tempfile

import matplotlib
import numpy as np
from rich.table import Table

from experiments.config import Config
from experiments.errors import UserError
from experiments.methods import METHODS
from experiments.warm_start import Record

COLORS = {
    "scratch": "#000000",
    "vanilla": "#666666",
    "l2": "#0072b2",
    "l2_init": "#56b4e9",
    "shrink_and_perturb": "#009e73",
    "head_reset": "#cc79a7",
    "full_reset": "#e69f00",
    "swr": "#d55e00",
}
"""Told apart by readers who see fewer colours (Okabe and Ito's palette)."""

REFERENCES = ("scratch", "vanilla")
"""Dashed in the figure: plain training without and with the warm start."""


def final_results(records: Sequence[Record], method: str) -> tuple[np.ndarray, ...]:
    """Test accuracy and weight growth of each seed after its last epoch."""
    last = {
        record.seed: record
        for record in sorted(records, key=lambda r: r.step)
        if record.method == method
    }
    ends = [last[seed] for seed in sorted(last)]
    return (
        np.array([end.test_accuracy for end in ends]),
        np.array([end.weight_growth for end in ends]),
    )


def summary_table(config: Config, records: Sequence[Record]) -> Table:
    """Mean ± standard deviation over seeds at the end of each method's training."""
    seeds = "seed" if config.seeds == 1 else "seeds"
    table = Table(
        title=f"{config.protocol}, {config.dataset}, {config.model}:"
        f" {config.epochs} epochs a phase, {config.seeds} {seeds}"
    )
    table.add_column("method")
    table.add_column("λ", justify="right")
    table.add_column("test accuracy", justify="right")
    table.add_column("weight growth", justify="right")
    for method in config.methods:
        accuracy, growth = final_results(records, method)
        coefficient = config.coefficient(method)
        table.add_row(
            METHODS[method].label,
            "" if coefficient is None else f"{coefficient:g}",
            _mean_and_deviation(accuracy, 4),
            _mean_and_deviation(growth, 2),
        )
    return table


def _mean_and_deviation(values: np.ndarray, digits: int) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"


def write_run(out: Path, config: Config, records: Sequence[Record]) -> list[Path]:
    """Writes ``config.json``, ``metrics.csv`` and the figure; returns their paths.

    Raises:
        UserError: if the folder cannot be written.
    """
    files = {
        "config.json": lambda path: path.write_text(config.to_json()),
        "metrics.csv": lambda path: _write_records(path, records),
        "figure.png": lambda path: draw_learning_curves(path, config, records),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, write in files.items():
            # Whole or not at all, whatever happens on the way.
            unfinished = out / f".{name.replace('.', '-unfinished.')}"
            try:
                write(unfinished)
                os.replace(unfinished, out / name)
            finally:
                unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}") from error
    return [out / name for name in files]


def check_writable(out: Path) -> None:
    """Finds out before a long run whether its results can be written.

    Raises:
        UserError: if not.
    """
    existing = next(p for p in [out, *out.absolute().parents] if p.exists())
    try:
        tempfile.TemporaryDirectory(dir=existing).cleanup()
    except OSError as error:
        raise UserError(
            f"cannot write to {out}: {existing}: {error.strerror}"
        ) from error


def _write_records(path: Path, records: Sequence[Record]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Record._fields)
        for record in records:
            writer.writerow(
                f"{value:.6g}" if isinstance(value, float) else value
                for value in record
            )


def draw_learning_curves(path: Path, config: Config, records: Sequence[Record]) -> None:
    """The paper's figure 2: test accuracy over the second phase.

    Lines are means over seeds; plain training, with and without the warm start,
    is dashed; it and SWR have bands of one standard deviation.
    """
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    ends = []
    for method in config.methods:
        curves = np.array(
            [
                [r.test_accuracy for r in records if (r.method, r.seed, r.stage) == key]
                for key in ((method, seed, 2) for seed in range(config.seeds))
            ]
        )
        epochs = np.arange(1, curves.shape[1] + 1)
        mean = curves.mean(axis=0)
        dashed = method in REFERENCES
        axes.plot(
            epochs,
            mean,
            color=COLORS[method],
            linestyle="--" if dashed else "-",
            linewidth=2.2 if method == "swr" else 1.6 if dashed else 1.2,
            marker="o" if config.epochs == 1 else None,
            label=METHODS[method].label,
            zorder=4 if method == "swr" else 3 if dashed else 2,
        )
        if config.seeds > 1 and (dashed or method == "swr"):  # More would be a fog.
            deviation = curves.std(axis=0, ddof=1)
            axes.fill_between(
                epochs,
                mean - deviation,
                mean + deviation,
                color=COLORS[method],
                alpha=0.12,
                linewidth=0,
            )
        ends.append(mean)
    # The first epochs of what starts anew would squeeze all that matters.
    settled = np.concatenate([mean[len(mean) // 4 :] for mean in ends])
    margin = max(0.3 * np.ptp(settled), 0.002)
    axes.set_ylim(settled.min() - margin, min(settled.max() + margin, 1.0))
    axes.set_xlabel("epoch on all data")
    axes.set_ylabel("test accuracy")
    axes.set_title(
        f"{config.dataset}, {config.model}: after a warm start on half the data"
    )
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=160)
    plt.close(figure)

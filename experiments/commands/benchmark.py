"""The command ``benchmark``: what SWR costs."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from experiments.benchmark import loops, optimizers, training_steps
from experiments.benchmark.fresh_process import in_fresh_process
from experiments.benchmark.in_turn import Row
from experiments.benchmark.results import tables, write_benchmark
from experiments.benchmark.torch_optimizers import import_torch
from experiments.errors import UserError, check_count
from experiments.files import check_writable


def run(rounds: int, torch: bool, largest: float, only: str | None, out: Path) -> None:
    """Measures the pieces, prints their tables and writes their files.

    Args:
        rounds: of all in turn.
        torch: whether PyTorch is compared with.
        largest: parameters of the optimiser's step at most.
        only: ``"optimizer"``, ``"training"`` or ``"loops"``; None for all.
        out: the folder.

    Raises:
        UserError: if an argument makes no sense, if PyTorch is asked for and missing,
            or if the folder cannot be written.
    """
    check_count(rounds, "rounds")
    sizes = [
        size
        for size in (*optimizers.FEW_LAYERS, *optimizers.MORE_LAYERS)
        if size.parameters <= largest
    ]
    if not sizes:
        least = optimizers.FEW_LAYERS[0].parameters
        raise UserError(f"--largest must be at least {least}, not {largest:g}")
    if torch:
        import_torch()
    check_writable(out)
    progress = Console(stderr=True, highlight=False)
    rows: list[Row] = []
    if only in (None, "optimizer"):
        for size in sizes:
            progress.print(f"optimiser's step: {size} …")
            # As with any user of Optax, whose memory nobody keeps.
            rows += in_fresh_process(False, optimizers.measure, size, rounds, torch)
    # As the experiments do.
    if only in (None, "training"):
        for step in training_steps.CASES:
            progress.print(f"training step: {step} …")
            keeps = not step.small
            rows += in_fresh_process(keeps, training_steps.measure, step, rounds, torch)
    if only in (None, "loops"):
        for loop in loops.CASES:
            progress.print(f"whole run: {loop} …")
            keeps = not loop.small
            rows += in_fresh_process(keeps, loops.measure, loop, rounds, torch)
    console = Console(highlight=False)
    for table in tables(rows):
        console.print(table)
    print("wrote", *write_benchmark(out, rows))

"""The command ``swr-experiments``, also ``python -m experiments``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import os
from pathlib import Path
import sys
from typing import NoReturn

from experiments.errors import UserError


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    # TFDS and its friends talk of TensorFlow, which reading needs not.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except UserError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{parser.prog}: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="swr-experiments",
        description="Experiments on plasticity with Soft Weight Rescaling.",
    )
    commands = parser.add_subparsers(
        required=True, metavar="COMMAND", dest="command", parser_class=_Parser
    )

    warm_start = commands.add_parser(
        "warm-start",
        help="train on half of the data, then on all of it",
        description="Trains on a random half of the training set, then on all of it,"
        " and compares methods by their test accuracy.",
    )
    warm_start.add_argument(
        "--dataset",
        default="digits",
        metavar="NAME",
        help="digits (bundled; the default) or mnist (through TFDS)",
    )
    warm_start.add_argument(
        "--model",
        default="mlp",
        metavar="NAME",
        help="mlp (the default), cnn or cnn_bn",
    )
    warm_start.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help="scratch vanilla l2 l2_init shrink_and_perturb head_reset full_reset swr"
        " (all by default)",
    )
    warm_start.add_argument(
        "--seeds", type=int, default=5, metavar="N", help="number of seeds (5)"
    )
    warm_start.add_argument(
        "--epochs",
        type=int,
        default=100,
        metavar="N",
        help="epochs of each phase (100)",
    )
    warm_start.add_argument(
        "--data-dir",
        metavar="DIR",
        help="TFDS's data directory (TFDS_DATA_DIR, else TFDS's own default)",
    )
    warm_start.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for the results, replacing earlier ones"
        " (runs/warm-start-DATASET-MODEL)",
    )
    warm_start.set_defaults(run=_warm_start)

    benchmark = commands.add_parser(
        "benchmark",
        help="SWR's share of a training step",
        description="Times the MLP's training step with Adam alone and with SWR"
        " chained behind it, in turn.",
    )
    benchmark.add_argument(
        "--rounds", type=int, default=100, metavar="N", help="of both in turn (100)"
    )
    benchmark.set_defaults(run=_benchmark)
    return parser


def _warm_start(options: argparse.Namespace) -> None:
    # Imported late, so that --help and misspelt options answer at once.
    from experiments.command import run
    from experiments.config import Config
    from experiments.methods import METHODS

    config = Config(
        dataset=options.dataset,
        model=options.model,
        methods=tuple(options.methods or METHODS),
        seeds=options.seeds,
        epochs=options.epochs,
    )
    default = Path("runs") / f"{config.protocol}-{config.dataset}-{config.model}"
    run(config, options.out or default, options.data_dir)


def _benchmark(options: argparse.Namespace) -> None:
    from experiments.benchmark import run

    if options.rounds < 1:
        raise UserError(f"rounds must be at least 1, not {options.rounds}")
    run(options.rounds)


if __name__ == "__main__":
    sys.exit(main())

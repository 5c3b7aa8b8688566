"""The command ``swr-experiments``, also ``python -m experiments``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from experiments.errors import UserError
from experiments.training.freed_memory import keep_freed_memory

if TYPE_CHECKING:
    from experiments.methods.coefficients import Coefficient
    from experiments.protocols.config import Config

# Others are imported late, so that --help and misspelt options answer at once.


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    # TFDS and its friends talk of TensorFlow, which reading needs not.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keep_freed_memory()
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except UserError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = "; given again, the same command goes on" if options.resumes else ""
        print(f"\n{parser.prog}: stopped{again}", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    from experiments.protocols.stages import PROTOCOLS

    parser = _Parser(
        prog="swr-experiments",
        description="Experiments on plasticity with Soft Weight Rescaling.",
    )
    commands = parser.add_subparsers(
        required=True, metavar="COMMAND", dest="command", parser_class=_Parser
    )

    def add(name: str, help: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=help, description=f"{help[0].upper()}{help[1:]}."
        )
        command.set_defaults(resumes=False)
        return command

    for name in ("warm-start", "balancedness"):
        command = add(name, PROTOCOLS[name].help)
        _add_run_options(command)
        _add_tensorboard(command)
        command.set_defaults(run=_run, protocol=lambda options: options.command)

    proportionality = add("proportionality", PROTOCOLS["proportionality"].help)
    _add_run_options(proportionality)
    proportionality.set_defaults(
        run=_run_proportionality, protocol=lambda options: options.command
    )

    continual = add("continual", "train on a stream of chunks of the data")
    continual.add_argument(
        "--access",
        choices=["full", "limited"],
        default="full",
        help="whether earlier chunks stay accessible (full, the default)",
    )
    _add_run_options(continual)
    _add_tensorboard(continual)
    continual.set_defaults(
        run=_run, protocol=lambda options: f"continual-{options.access}"
    )

    single = add("single-task", "train on all of the data")
    single.add_argument(
        "--decay", action="store_true", help="divide the learning rate by ten twice"
    )
    _add_run_options(single)
    _add_tensorboard(single)
    single.set_defaults(
        run=_run,
        protocol=lambda options: "single-task" + ("-decay" if options.decay else ""),
    )

    sweep = add("sweep", "find a method's coefficient on held-out training images")
    sweep.add_argument("method", metavar="METHOD", help="such as swr")
    sweep.add_argument(
        "--protocol",
        dest="protocol_name",
        default="warm-start",
        metavar="NAME",
        help="warm-start (the default), continual-full, continual-limited, single-task,"
        " single-task-decay",
    )
    sweep.add_argument(
        "--grid",
        nargs="+",
        metavar="VALUE",
        help="coefficients to try (the paper's grid); of swr_two, such as"
        " feature:1e-4,classifier:1e-1",
    )
    _add_run_options(sweep, methods=False)
    _add_tensorboard(sweep)
    sweep.set_defaults(run=_sweep, protocol=lambda options: options.protocol_name)

    report = add("report", "gather runs in one page with tables and figures")
    report.add_argument(
        "runs",
        nargs="*",
        type=Path,
        metavar="RUN",
        help="folders of runs (all below runs/)",
    )
    report.add_argument(
        "--out", type=Path, default=Path("report"), metavar="DIR", help="(report)"
    )
    report.set_defaults(run=_report)

    guide = add("guide", "draw the guide to plans anew")
    guide.add_argument(
        "--out", type=Path, default=Path("guide"), metavar="DIR", help="(guide)"
    )
    guide.set_defaults(run=_guide)

    benchmark = add("benchmark", "time a training step without and with SWR")
    benchmark.add_argument(
        "--rounds", type=int, default=30, metavar="N", help="of all in turn (30)"
    )
    benchmark.add_argument(
        "--torch", action="store_true", help="compare with PyTorch (pip install torch)"
    )
    benchmark.set_defaults(run=_benchmark)
    return parser


def _add_run_options(command: argparse.ArgumentParser, methods: bool = True) -> None:
    command.add_argument(
        "--dataset",
        default="digits",
        metavar="NAME",
        help="digits (bundled; the default), or through TFDS mnist, fashion_mnist,"
        " cifar10, cifar100, tiny_imagenet",
    )
    command.add_argument(
        "--model",
        default="mlp",
        metavar="NAME",
        help="mlp (the default), cnn, cnn_bn, vgg16, resnet18 or vit",
    )
    if methods:
        command.add_argument(
            "--methods", nargs="+", metavar="NAME", help="the paper's by default"
        )
        command.add_argument(
            "--coefficient",
            nargs="+",
            default=[],
            metavar="METHOD=VALUE",
            help="instead of the paper's: swr=1e-3, or"
            " swr_two=feature:1e-4,classifier:1e-1",
        )
    command.add_argument(
        "--profile",
        choices=["quick", "paper"],
        help="quick: minutes on two cores; paper: the published lengths (the default)",
    )
    command.add_argument("--seeds", type=int, metavar="N", help="number of seeds")
    command.add_argument("--epochs", type=int, metavar="N", help="of each stage")
    command.add_argument(
        "--train-images", type=int, metavar="N", help="a random subset to train on"
    )
    command.add_argument(
        "--test-images", type=int, metavar="N", help="a random subset to test on"
    )
    command.add_argument(
        "--data-dir",
        metavar="DIR",
        help="TFDS's data directory (TFDS_DATA_DIR, else TFDS's own default)",
    )
    command.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for the results, replacing earlier ones"
        " (runs/PROTOCOL-DATASET-MODEL)",
    )
    command.set_defaults(resumes=True)


def _add_tensorboard(command: argparse.ArgumentParser) -> None:
    """For commands that train by epochs."""
    command.add_argument(
        "--tensorboard",
        action="store_true",
        help="write event files as well (a sweep: of the best coefficient's run)",
    )


def _config(options: argparse.Namespace, methods: Sequence[str]) -> Config:
    from experiments.data import SOURCES
    from experiments.errors import check_name
    from experiments.models import MODELS
    from experiments.protocols.config import Config, profile_options
    from experiments.protocols.stages import PROTOCOLS

    protocol = options.protocol(options)
    check_name(protocol, PROTOCOLS, "protocol")
    check_name(options.dataset, SOURCES, "data set")
    check_name(options.model, MODELS, "model")
    lengths: dict[str, Any] = dict(
        profile_options(
            options.profile or "paper", protocol, options.model, options.dataset
        )
    )
    for name, length in lengths.items():
        given = getattr(options, name)
        if given is None:
            continue
        if options.profile is not None and given != length:
            raise UserError(
                f"--{name.replace('_', '-')} {given} contradicts --profile"
                f" {options.profile}, which has {length or 'all'}: leave one of them"
                " out"
            )
        lengths[name] = given
    return Config(
        protocol=protocol,
        dataset=options.dataset,
        model=options.model,
        methods=tuple(methods),
        coefficients=_assignments(getattr(options, "coefficient", [])),
        **lengths,
    )


def _assignments(texts: Sequence[str]) -> dict[str, Coefficient]:
    found: dict[str, Coefficient] = {}
    for text in texts:
        method, equals, value = text.partition("=")
        if not equals:
            raise UserError(
                f"--coefficient {text}: write METHOD=VALUE, such as swr=1e-3"
            )
        if method in found:
            raise UserError(f"--coefficient {text}: {method} has one already")
        found[method] = _coefficient(value, f"--coefficient {text}")
    return found


def _coefficient(text: str, where: str) -> Coefficient:
    """A number, or one for each group: ``feature:1e-4,classifier:1e-1``."""
    try:
        if ":" not in text:
            return float(text)
        pairs = (part.split(":") for part in text.split(","))
        groups: Mapping[str, float] = {group: float(value) for group, value in pairs}
    except ValueError:
        raise UserError(f"{where}: {text!r} is no coefficient") from None
    return groups


def _run(options: argparse.Namespace) -> None:
    config = _config(options, options.methods or ())
    from experiments.commands.run import run

    run(config, _out(options, config), options.data_dir, options.tensorboard)


def _run_proportionality(options: argparse.Namespace) -> None:
    config = _config(options, options.methods or ())
    from experiments.protocols.proportionality import run

    run(config, _out(options, config), options.data_dir)


def _sweep(options: argparse.Namespace) -> None:
    config = _config(options, [options.method])
    from experiments.commands.sweep import paper_grid, run

    grid = [_coefficient(text, "--grid") for text in options.grid or []]
    out = _out(options, config, f"sweep-{options.method}-")
    run(
        config,
        grid or paper_grid(options.method),
        out,
        options.data_dir,
        options.tensorboard,
    )


def _out(options: argparse.Namespace, config: Config, prefix: str = "") -> Path:
    if options.out is not None:
        return options.out
    name = f"{prefix}{config.protocol}-{config.dataset}-{config.model}"
    return Path("runs") / name


def _report(options: argparse.Namespace) -> None:
    from experiments.reporting.gathering import write_report
    from experiments.reporting.runs import find_runs

    files = write_report(options.out, options.runs or find_runs(Path("runs")))
    print("wrote", *files)


def _guide(options: argparse.Namespace) -> None:
    from experiments.guide.page import write_guide

    print("wrote", *write_guide(options.out))


def _benchmark(options: argparse.Namespace) -> None:
    from experiments.benchmark.steps import run

    if options.rounds < 1:
        raise UserError(f"rounds must be at least 1, not {options.rounds}")
    run(options.rounds, options.torch)


if __name__ == "__main__":
    sys.exit(main())

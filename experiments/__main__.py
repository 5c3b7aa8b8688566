"""The command ``swr-experiments``, also ``python -m experiments``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
import io
import logging
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from experiments.commands.options import (
    AgentOptions,
    Flag,
    Names,
    Number,
    RunOptions,
    StageOptions,
    StreamOptions,
    SweepOptions,
    Whole,
    make_agent_config,
    make_config,
    make_engine,
    make_sweep_config,
    out_folder,
    own_folder,
    parse_coefficient,
)
from experiments.errors import UserError
from experiments.training.stopping import Stopped, stopped_by_signals

if TYPE_CHECKING:
    from experiments.protocols.config import Config

# What imports JAX is imported late, so that --help and misspelt options answer at once.

NAME = "swr-experiments"
RESUMED = (
    *("stream", "warm-start", "continual", "single-task", "proportionality"),
    *("balancedness", "agent", "sweep"),
)
"""Commands that go on where they were stopped."""

COMMANDS = (*RESUMED, "report", "guide", "benchmark")

app = App(
    name=NAME,
    help="Experiments on plasticity with Soft Weight Rescaling. Without a command:"
    " random labels on scikit-learn's digits, about a minute on two cores.",
    version_flags=(),
    suppress_keyboard_interrupt=False,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    # TFDS and its friends talk of TensorFlow, which reading needs not.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # And Matplotlib of a home that cannot be written, which it needs not either.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    if os.environ.get("COLUMNS") == "0":
        del os.environ["COLUMNS"]  # By which Rich would print nothing.
    for stream in (sys.stdout, sys.stderr):
        # Not every encoding has a λ. The second is what Python has in the C locale.
        failing = "strict", "surrogateescape"
        if isinstance(stream, io.TextIOWrapper) and stream.errors in failing:
            stream.reconfigure(errors="replace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        print(
            f"{NAME}: unknown command {words[0]!r}: choose from {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        return 2
    try:
        with stopped_by_signals():
            app(
                words,
                exit_on_error=False,
                print_error=False,
                result_action="return_value",
            )
            if sys.stdout is not None:  # Or it would fail when nobody can say so.
                sys.stdout.flush()
    except UserError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 2
    except UnusedCliTokensError as error:
        word = (error.unused_tokens or [""])[0]
        print(f"{NAME}: {word!r} belongs to no option: leave it out", file=sys.stderr)
        return 2
    except CycloptsError as error:
        message = " ".join(str(error).split())
        print(f"{NAME}: {message} (see {NAME} --help)", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Stopped) as error:
        resumed = not words or words[0].startswith("-") or words[0] in RESUMED
        again = "; given again, the same command goes on" if resumed else ""
        with suppress(OSError):  # Its terminal may be gone.
            print(f"\n{NAME}: stopped{again}", file=sys.stderr)
        return error.status if isinstance(error, Stopped) else 130
    except OSError as error:
        _drop_output()
        if isinstance(error, BrokenPipeError):
            return 1  # Who reads has enough.
        where = error.filename or "standard output"
        with suppress(OSError):
            print(f"{NAME}: cannot write to {where}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def _drop_output() -> None:
    """Or Python would try once more to write it at the end, and print a traceback."""
    with suppress(OSError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.default
def random_labels(options: StreamOptions = StreamOptions()) -> None:
    """Learn the same images with labels that are shuffled for each task."""
    stream("random-labels", options)


@app.command
def stream(
    task: Annotated[str, Parameter(name="--task")] = "random-labels",
    options: StreamOptions = StreamOptions(),
) -> None:
    """Learn a stream of tasks, and see who goes on learning.

    Args:
        task: what changes: random-labels, permuted-inputs, five-plus-one, class-pairs,
            class-incremental or slowly-changing-regression
        options: of the run
    """
    from experiments.protocols.streams import STREAMS

    if task not in STREAMS:
        raise UserError(f"unknown task {task!r}: choose from {', '.join(STREAMS)}")
    config = make_config(options, task)
    from experiments.commands.streams import run

    _run(run, options, config)


@app.command
def warm_start(options: StageOptions = StageOptions()) -> None:
    """Train on half of the data, then on all of it."""
    _run_stages("warm-start", options)


@app.command
def continual(
    options: StageOptions = StageOptions(),
    *,
    access: Literal["full", "limited"] = "full",
) -> None:
    """Train on a stream of chunks of the data.

    Args:
        options: of the run
        access: whether earlier chunks stay accessible
    """
    _run_stages(f"continual-{access}", options)


@app.command
def single_task(
    options: StageOptions = StageOptions(),
    *,
    decay: Flag = False,
) -> None:
    """Train on all of the data.

    Args:
        options: of the run
        decay: divide the learning rate by ten twice
    """
    _run_stages("single-task-decay" if decay else "single-task", options)


@app.command
def balancedness(options: StageOptions = StageOptions()) -> None:
    """See how balanced the layers of a network stay while it trains."""
    _run_stages("balancedness", options)


@app.command
def proportionality(options: StageOptions = StageOptions()) -> None:
    """Train, scale the network once, and train on."""
    if options.tensorboard:
        raise UserError(
            "proportionality writes no event files: leave --tensorboard out"
        )
    config = make_config(options, "proportionality")
    from experiments.commands.proportionality import run

    out = out_folder(options, config)
    with make_engine(options, config.small) as engine:
        run(config, out, options.data_dir, engine, options.restart)


@app.command
def agent(options: AgentOptions = AgentOptions()) -> None:
    """Train agents with PPO in an environment that changes."""
    config = make_agent_config(options)
    from experiments.commands.agents import run

    out = out_folder(options, config)
    with make_engine(options, config.small) as engine:
        run(config, out, options.tensorboard, engine, options.restart)


@app.command
def sweep(
    method: str,
    options: SweepOptions = SweepOptions(),
    *,
    protocol: str = "warm-start",
    grid: Names = (),
    rates: Names = (),
) -> None:
    """Find a method's coefficient and learning rate; only then it is tested.

    The paper's protocols are compared on held-out training images, streams on other
    seeds.

    Args:
        method: such as swr
        options: of the run
        protocol: such as warm-start, continual-full, single-task, random-labels or
            agent
        grid: coefficients to try (the published grid by default); of swr_two, such as
            feature:1e-3,classifier:1e-4
        rates: learning rates to try
    """
    from experiments.errors import check_name
    from experiments.methods import METHODS
    from experiments.protocols.streams import STREAMS

    check_name(method, METHODS, "method")
    if options.methods:
        raise UserError("a sweep is of one method, the first word: leave --methods out")
    if options.coefficient:
        raise UserError("a sweep finds the coefficient: use --grid, not --coefficient")
    if options.learning_rate and (rates or protocol in STREAMS):
        raise UserError("a sweep tries rates: use --rates, not --learning-rate")
    config = make_sweep_config(options, protocol, method)
    values = [parse_coefficient(text, "--grid") for text in grid]
    try:
        learning_rates = [float(text) for text in rates]
    except ValueError:
        words = " ".join(rates) or "an empty word"
        raise UserError(f"--rates must be numbers, not {words}") from None
    from experiments.commands.sweep import run

    out = out_folder(options, config, f"sweep-{method}-")
    tries = values, learning_rates
    told = options.data_dir, options.tensorboard
    with make_engine(options, config.small) as engine:
        run(config, *tries, out, *told, engine, options.restart)


@app.command
def report(
    runs: Annotated[tuple[Path, ...], Parameter(negative=())] = (Path("runs"),),
    *,
    out: Path = Path("report"),
) -> None:
    """Gather runs in one page that says who wins.

    Args:
        runs: folders of runs, or folders that these are in (runs/)
        out: folder for the page, its tables and its figures
    """
    from experiments.reporting.gathering import write_report
    from experiments.reporting.runs import find_runs

    print("wrote", *write_report(own_folder(out), find_runs(runs)))


@app.command
def guide(*, out: Path = Path("guide")) -> None:
    """Draw the guide to plans anew.

    Args:
        out: folder for the page and its pictures
    """
    from experiments.guide.page import write_guide

    print("wrote", *write_guide(own_folder(out)))


@app.command
def benchmark(
    *,
    rounds: Annotated[int, Whole] = 20,
    torch: Flag = False,
    largest: Annotated[float, Number] = 1e8,
    only: Literal["optimizer", "training", "loops"] | None = None,
    out: Path = Path("runs/benchmark"),
) -> None:
    """Measure what SWR and others cost: time, compilation and memory.

    Args:
        rounds: of all in turn
        torch: compare with PyTorch (pip install torch)
        largest: parameters of the optimiser's step at most
        only: the optimiser's step alone, training steps, or whole runs
        out: folder for the table and the figure
    """
    from experiments.commands.benchmark import run

    run(rounds, torch, largest, only, own_folder(out))


def _run(run: Callable[..., None], options: RunOptions, config: Config) -> None:
    """Runs what learns from data, where and how the options say."""
    out = out_folder(options, config)
    told = options.data_dir, options.tensorboard
    with make_engine(options, config.small) as engine:
        run(config, out, *told, engine, options.restart)


def _run_stages(protocol: str, options: RunOptions) -> None:
    config = make_config(options, protocol)
    from experiments.commands.stages import run

    _run(run, options, config)


if __name__ == "__main__":
    sys.exit(main())

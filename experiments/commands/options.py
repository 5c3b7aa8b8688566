"""What a user may say of a run, and the configuration that it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, Token

from experiments.backend.freed_memory import KEEPING, keep_freed_memory
from experiments.errors import UserError, check_name

if TYPE_CHECKING:
    from experiments.agents.config import AgentConfig
    from experiments.methods.coefficients import Coefficient
    from experiments.protocols.config import Config
    from experiments.training.engine import Engine

# What imports JAX is imported late, so that --help and misspelt options answer at once.

Names = Annotated[
    tuple[str, ...], Parameter(consume_multiple=1, negative=(), show_default=False)
]
"""Several words behind one option."""


def _whole(_: object, words: Sequence[Token]) -> int:
    return _number(_, words, int, "whole number")  # Or Cyclopts makes 2 of 1.5.


def _number(
    _: object, words: Sequence[Token], kind: type = float, name: str = "number"
) -> Any:
    text = words[0].value
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is no {name}") from None


Whole = Parameter(converter=_whole)
"""Of an option that counts something."""

Number = Parameter(converter=_number)
"""Of an option that is any number."""

Flag = Annotated[bool, Parameter(negative=())]
"""An option without a value."""


@Parameter(name="*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparisonOptions:
    """What every run may be told.

    Attributes:
        model: mlp, cnn and others; by default the published one for the data
        methods: what is compared; the README lists the names
        coefficient: instead of the default: swr=1e-3, or
            swr_two=feature:1e-3,classifier:1e-4
        learning_rate: for all methods, or METHOD=VALUE for one
        optimizer: what the methods are combined with
        profile: quick, minutes on two cores; paper, the published lengths (the default)
        seeds: how many
        first_seed: the first of them, to add seeds to those of an earlier run
        out: folder for the results, replacing earlier ones
            (runs/PROTOCOL-DATASET-MODEL, and -from-N with a first seed N)
        restart: throw away what the folder has of this run or of an unfinished other
        tensorboard: write event files as well
        cluster: hand the lanes of the run, each a seed with a coefficient, to a Ray
            cluster: auto, local or HOST:PORT (pip install 'swr-optax[cluster]')
        lane_cpus: cores for a lane there (1)
        lane_gpus: accelerators for a lane there, such as 0.25 (1 if there are any)
    """

    model: str | None = None
    methods: Names = ()
    coefficient: Names = ()
    learning_rate: Names = ()
    optimizer: Literal["adam", "sgd"] = "adam"
    profile: Literal["quick", "paper"] | None = None
    seeds: Annotated[int | None, Whole] = None
    first_seed: Annotated[int, Whole] = 0
    out: Path | None = None
    restart: Flag = False
    tensorboard: Flag = False
    cluster: str | None = None
    lane_cpus: Annotated[float | None, Number] = None
    lane_gpus: Annotated[float | None, Number] = None


@Parameter(name="*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(ComparisonOptions):
    """What a run that learns from data may be told.

    Attributes:
        dataset: digits (bundled), or through TFDS mnist, fashion_mnist, cifar10,
            cifar100, tiny_imagenet
        epochs: of each stage or task
        train_images: a random subset to train on; in a stream, of each task
        data_dir: TFDS's data directory (TFDS_DATA_DIR, else TFDS's own default)
    """

    dataset: str | None = None
    epochs: Annotated[int | None, Whole] = None
    train_images: Annotated[int | None, Whole] = None
    data_dir: str | None = None


@Parameter(name="*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class StageOptions(RunOptions):
    """What a run of the paper's protocols may be told.

    Attributes:
        test_images: a random subset to test on
    """

    test_images: Annotated[int | None, Whole] = None


@Parameter(name="*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamOptions(RunOptions):
    """What a run of a stream may be told.

    Attributes:
        tasks: how many
        decay: divide the learning rate by ten twice; a fresh network's never falls
    """

    tasks: Annotated[int | None, Whole] = None
    decay: Flag = False


@Parameter(name="*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class AgentOptions(ComparisonOptions):
    """What a run of agents may be told.

    Attributes:
        environment: cartpole (the default), acrobot or minatar; or
            cartpole_plain, acrobot_plain, which do not change
        levels: how many; between two of them the environment changes
        iterations: of each level, 800 steps of the environment and the updates from
            them
    """

    environment: str | None = None
    levels: Annotated[int | None, Whole] = None
    iterations: Annotated[int | None, Whole] = None


@Parameter(name="*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepOptions(StageOptions, StreamOptions, AgentOptions):
    """What a sweep may be told."""


def make_sweep_config(
    options: SweepOptions, protocol: str, method: str
) -> Config | AgentConfig:
    """The configuration of the best run that a sweep is to find.

    Raises:
        UserError: naming what does not fit.
    """
    from experiments.agents.config import AGENT
    from experiments.protocols.stages import PROTOCOLS
    from experiments.protocols.streams import STREAMS

    staged = [name for name in PROTOCOLS if name != "proportionality"]
    check_name(protocol, [*staged, *STREAMS, AGENT], "protocol to sweep")
    agent = protocol == AGENT
    foreign = vars(RunOptions()) | vars(StageOptions()) | vars(StreamOptions())
    own = vars(AgentOptions())
    if not agent:
        foreign, own = own, foreign
    for name in foreign.keys() - own.keys():
        if getattr(options, name) != foreign[name]:
            raise UserError(
                f"--{name.replace('_', '-')} does not belong to {protocol}: leave it"
                " out"
            )
    if agent:
        return make_agent_config(options, [method])
    return make_config(options, protocol, [method])


def make_config(
    options: RunOptions, protocol: str, methods: Sequence[str] | None = None
) -> Config:
    """The configuration that options make of a protocol.

    Raises:
        UserError: naming what does not fit.
    """
    from experiments.data import SOURCES
    from experiments.models import MODELS
    from experiments.protocols.config import Config, profile_options
    from experiments.protocols.stages import PROTOCOLS
    from experiments.protocols.streams import STREAMS

    check_name(protocol, [*PROTOCOLS, *STREAMS], "protocol")
    stream = STREAMS.get(protocol)
    dataset = options.dataset
    if dataset is None:
        dataset = next(iter(stream.published)) if stream else "digits"
    check_name(dataset, SOURCES, "data set")
    if stream is not None:
        check_name(dataset, stream.published, f"data set for {protocol}")
    profile = options.profile or "paper"
    model = options.model
    if model is None:
        model = (
            stream.length(profile, dataset).model
            if stream
            else _model_of(dataset, protocol)
        )
    check_name(model, MODELS, "model")
    if not MODELS[model].small:
        keep_freed_memory()
    lengths = _lengths(
        options,
        profile_options(profile, protocol, model, dataset),
        ("seeds", "epochs", "train_images", "test_images", "tasks"),
    )
    return Config(
        protocol=protocol,
        dataset=dataset,
        model=model,
        decay=getattr(options, "decay", False),
        **_compared(options, methods),
        **lengths,
    )


def _model_of(dataset: str, protocol: str) -> str:
    """What the paper trains on a data set; its MLP on those that it does not have."""
    from experiments.methods.coefficients import PAPER

    if protocol == "balancedness":  # Of a chain of dense layers, whatever the data.
        return "mlp"
    return next((model for name, model in PAPER if name == dataset), "mlp")


def make_agent_config(
    options: AgentOptions, methods: Sequence[str] | None = None
) -> AgentConfig:
    """The configuration that options make of agents.

    Raises:
        UserError: naming what does not fit.
    """
    from experiments.agents.config import AgentConfig
    from experiments.agents.settings import LENGTHS

    environment = options.environment
    if environment is None:
        environment = next(iter(LENGTHS))
    check_name(environment, LENGTHS, "environment")
    length = LENGTHS[environment][options.profile or "paper"]._asdict()
    model = length.pop("model")
    lengths = _lengths(options, length, tuple(length))
    return AgentConfig(
        dataset=environment,
        model=model if options.model is None else options.model,
        tasks=lengths.pop("levels"),
        **_compared(options, methods),
        **lengths,
    )


def _lengths(
    options: ComparisonOptions,
    of_profile: Mapping[str, int | None],
    names: Sequence[str],
) -> dict[str, Any]:
    """A profile's lengths, and those that were given instead.

    How many seeds there are is no length, and goes with any profile.

    Raises:
        UserError: if a profile was asked for and another length as well.
    """
    lengths: dict[str, Any] = dict(of_profile)
    for name in names:
        given = getattr(options, name, None)
        if given is None:
            continue
        other = name != "seeds" and given != lengths.get(name, given)
        if options.profile is not None and other:
            raise UserError(
                f"--{name.replace('_', '-')} {given} contradicts --profile"
                f" {options.profile}, which has {lengths[name] or 'all'}: leave one of"
                " them out"
            )
        lengths[name] = given
    return lengths


def _compared(
    options: ComparisonOptions, methods: Sequence[str] | None = None
) -> dict[str, Any]:
    """What options say of the methods that are compared."""
    from experiments.methods import METHODS

    methods = options.methods if methods is None else methods
    rates = _assignments(options.learning_rate, "learning-rate")
    if None in rates:  # It is for methods that have a rate of their own, too.
        own = [name for name in methods if name in METHODS and METHODS[name].rate]
        rates = dict.fromkeys(own, rates[None]) | rates
    return {
        "methods": tuple(methods),
        "first_seed": options.first_seed,
        "coefficients": _coefficients(options.coefficient),
        "optimizer": options.optimizer,
        "learning_rate": rates.pop(None, 1e-3),
        "learning_rates": rates,
    }


def out_folder(
    options: ComparisonOptions, config: Config | AgentConfig, prefix: str = ""
) -> Path:
    """Where the results go.

    Raises:
        UserError: if the folder has no name.
    """
    if options.out is None:
        name = f"{prefix}{config.protocol}-{config.dataset}-{config.model}"
        # Seeds that are added do not replace those that they are added to.
        added = f"-from-{config.first_seed}" if config.first_seed else ""
        return Path("runs") / f"{name}{added}"
    return own_folder(options.out)


def own_folder(out: Path) -> Path:
    """A folder that a user has named.

    Raises:
        UserError: if it has no name, or is where the user is, or above.
    """
    here = Path.cwd()
    if "\0" in str(out) or out.resolve() in (here, *here.parents):
        raise UserError("--out must name a folder of its own, such as runs/mine")
    return out


def make_engine(
    options: ComparisonOptions, small: bool
) -> AbstractContextManager[Engine]:
    """What is to work on the run's lanes: this process, or a cluster.

    Args:
        options: of the run.
        small: whether its network's steps take little scratch memory.

    Raises:
        UserError: if Ray is missing, or a lane cannot have such a share.
    """
    from experiments.training.engine import run_here

    shares = {"lane-cpus": options.lane_cpus, "lane-gpus": options.lane_gpus}
    for name, share in shares.items():
        if share is None:
            continue
        if options.cluster is None:
            raise UserError(f"--{name} belongs to a cluster: add --cluster auto")
        # Ray's rule; NaN is neither.
        if not (0 <= share <= 1 or (share > 1 and share.is_integer())):
            raise UserError(
                f"--{name} must be from 0 to 1 or a whole number, not {share:g}"
            )
    if options.cluster is None:
        return nullcontext(run_here)
    try:
        from experiments.training.cluster import Cluster
    except ImportError:
        raise UserError(
            "--cluster needs Ray: pip install 'swr-optax[cluster]'"
        ) from None
    return Cluster(
        options.cluster,
        cpus=1 if options.lane_cpus is None else options.lane_cpus,
        gpus=options.lane_gpus,
        environment={} if small else KEEPING,
    )


def parse_coefficient(text: str, where: str) -> Coefficient:
    """A number, or one for each group: ``feature:1e-4,classifier:1e-1``.

    Raises:
        UserError: if it is neither.
    """
    try:
        if ":" not in text:
            return float(text)
        pairs = [part.split(":") for part in text.split(",")]
        groups: Mapping[str, float] = {group: float(value) for group, value in pairs}
        if "" in groups:
            raise ValueError
    except ValueError:
        raise UserError(f"{where}: {text!r} is no coefficient") from None
    if len(groups) < len(pairs):
        raise UserError(f"{where}: {text!r} names a group twice")
    return groups


def _coefficients(texts: Sequence[str]) -> dict[str, Coefficient]:
    found: dict[str, Coefficient] = {}
    for text in texts:
        method, equals, value = text.partition("=")
        if not method or not equals:
            raise UserError(
                f"--coefficient {text}: write METHOD=VALUE, such as swr=1e-3"
            )
        if method in found:
            raise UserError(f"--coefficient {text}: {method} has one already")
        found[method] = parse_coefficient(value, f"--coefficient {text}")
    return found


def _assignments(texts: Sequence[str], option: str) -> dict[Any, float]:
    """Numbers by method; one without a method is for all, under None."""
    found: dict[Any, float] = {}
    for text in texts:
        method, equals, value = text.rpartition("=")
        try:
            if equals and not method:
                raise ValueError
            number = float(value)
        except ValueError:
            raise UserError(
                f"--{option} {text}: write a number, or METHOD=VALUE"
            ) from None
        if (method or None) in found:
            raise UserError(f"--{option} {text}: there is one already")
        found[method or None] = number
    return found

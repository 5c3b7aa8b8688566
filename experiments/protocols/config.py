"""Everything that determines a run, checked before any data are loaded."""

from __future__ import annotations

import dataclasses

from experiments.data import SOURCES
from experiments.errors import UserError, check_name
from experiments.methods import METHODS
from experiments.methods.coefficients import (
    STREAM_COEFFICIENTS,
    Choice,
    published_coefficient,
)
from experiments.models import MODELS
from experiments.protocols.comparison import Comparison
from experiments.protocols.stages import PROTOCOLS
from experiments.protocols.streams import METHODS_COMPARED, STREAMS
from experiments.protocols.tasks import EASY, HARD, INCREMENT, Size

CHAIN = "balancedness is for a chain of dense layers"
OF_WHAT_IS_TRAINED = ("proportionality", "balancedness")
"""Protocols that look at the parameters that are trained."""

QUICK_SEEDS = 2
QUICK_IMAGES = (2500, 2000)
"""To train on and to test on, in the profile ``quick``."""


@dataclasses.dataclass(frozen=True)
class Config(Comparison):
    """Configuration of a run of the paper's protocols or a stream.

    Attributes, beside those of every run:
        protocol: name in :data:`experiments.protocols.stages.PROTOCOLS` or
            :data:`experiments.protocols.streams.STREAMS`.
        dataset: name in :data:`experiments.data.SOURCES`.
        model: name in :data:`experiments.models.MODELS`.
        epochs: length of each stage or task.
        train_images: size of a random subset to train on, in a stream of each task's;
            None for all.
        test_images: the same for testing.
        tasks: of a stream; None for the paper's protocols.
        batch_size: images in a step.
        decay: whether a stream's learning rate falls to a tenth twice, as a single
            task's does with decay.
        data: the digest of the whole data set, once it is read; see
            :attr:`experiments.data.Dataset.digest`.
    """

    protocol: str = "warm-start"
    dataset: str = "digits"
    model: str = "mlp"
    epochs: int = 100
    train_images: int | None = None
    test_images: int | None = None
    tasks: int | None = None
    batch_size: int = 256
    decay: bool = False
    data: str | None = None

    def __post_init__(self) -> None:
        check_name(self.protocol, [*PROTOCOLS, *STREAMS], "protocol")
        check_name(self.dataset, SOURCES, "data set")
        check_name(self.model, MODELS, "model")
        height, width, _ = SOURCES[self.dataset].shape
        misfit = MODELS[self.model].misfit(height, width)
        if misfit is not None:
            raise UserError(
                f"model {self.model!r} does not fit {self.dataset!r}: {misfit}"
            )
        self.check_counts("epochs", "tasks", "batch_size")
        self.check_counts("train_images", "test_images")
        if self.is_stream:
            self._check_stream()
        else:
            self._check_stages()
        if not self.methods:
            object.__setattr__(self, "methods", self._default_methods())
        self.check_comparison()
        self._check_methods()

    @property
    def is_stream(self) -> bool:
        """Whether the protocol is a stream of tasks."""
        return self.protocol in STREAMS

    @property
    def small(self) -> bool:
        """Whether a step of the network takes little scratch memory."""
        return MODELS[self.model].small

    @property
    def protocol_stages(self) -> int:
        """How many stages the protocol has; a stream's are its tasks."""
        return self.stream_tasks if self.is_stream else PROTOCOLS[self.protocol].stages

    @property
    def stream_tasks(self) -> int:
        """How many tasks a stream has."""
        return self.tasks or 1

    @property
    def size(self) -> Size:
        """Of a stream's task."""
        return Size(self.train_images, self.batch_size, self.epochs)

    def _check_stages(self) -> None:
        if SOURCES[self.dataset].classes < 2:
            raise UserError(f"{self.dataset!r} has no classes: choose another data set")
        if self.decay:
            falling = f"{self.protocol}-decay"
            raise UserError(
                f"{self.protocol} has its own learning rates: leave decay out"
                + (f", or use the protocol {falling}" if falling in PROTOCOLS else "")
            )
        if self.tasks is not None:
            raise UserError(f"{self.protocol} has stages and no tasks: leave tasks out")
        if self.train_images is not None and self.train_images < self.protocol_stages:
            raise UserError(
                f"train_images {self.train_images} are fewer than the"
                f" {self.protocol_stages} stages of {self.protocol}"
            )
        if self.protocol == "balancedness" and self.model != "mlp":
            raise UserError(f"{CHAIN}: use --model mlp, not {self.model}")

    def _check_stream(self) -> None:
        stream = STREAMS[self.protocol]
        if self.tasks is None:
            raise UserError(f"{self.protocol} is a stream: say how many tasks")
        if self.dataset not in stream.published:
            raise UserError(
                f"{self.protocol} is not for {self.dataset!r}: choose from"
                f" {', '.join(stream.published)}"
            )
        if not stream.sized and self.train_images is not None:
            raise UserError(
                f"{self.protocol} takes all images of its classes: leave"
                " train_images out"
            )
        if self.test_images is not None:
            raise UserError(
                f"{self.protocol} has tests of its own: leave test_images out"
            )
        if stream.regression and self.train_images is None:
            raise UserError(
                f"{self.protocol} draws its examples: say how many train_images"
            )
        if self.train_images is not None and self.train_images < self.batch_size:
            raise UserError(
                f"train_images {self.train_images} are fewer than the batch of"
                f" {self.batch_size}"
            )
        classes = SOURCES[self.dataset].classes
        most = {
            "five-plus-one": 2 * (classes // (HARD + EASY))
            + (classes % (HARD + EASY) >= HARD),
            "class-incremental": classes // INCREMENT,
        }.get(self.protocol)
        if most is not None and self.tasks > most:
            raise UserError(
                f"tasks must be at most {most}, not {self.tasks}: {self.dataset} has"
                f" {classes} classes"
            )

    @property
    def profile(self) -> str:
        """``"paper"`` or ``"quick"`` if all lengths are those, else ``"custom"``.

        How many seeds there are is no length: more of them change no number.
        """
        for name in ("paper", "quick"):
            options = profile_options(name, self.protocol, self.model, self.dataset)
            del options["seeds"]
            if all(getattr(self, key) == value for key, value in options.items()):
                return name
        return "custom"

    def to_json(self) -> str:
        """All that a repetition needs: the fields, versions and the device."""
        return self.described(profile=self.profile, stages=self.protocol_stages)

    def default_coefficient(self, method: str) -> Choice | None:
        """See :class:`Comparison`."""
        default = METHODS[method].default
        if default is None:
            return None
        if self.is_stream:
            swept = method in STREAM_COEFFICIENTS
            return Choice(STREAM_COEFFICIENTS.get(method, default), published=swept)
        published = published_coefficient(
            method, self.protocol, self.dataset, self.model
        )
        return published or Choice(default, published=False)

    def _default_methods(self) -> tuple[str, ...]:
        """The paper gives two coefficients to networks with normalisation layers."""
        if self.is_stream:
            return METHODS_COMPARED
        methods = PROTOCOLS[self.protocol].methods
        if not MODELS[self.model].normalises:
            return methods
        return tuple("swr_two" if name == "swr" else name for name in methods)

    def _check_methods(self) -> None:
        falls = self.decay or (not self.is_stream and PROTOCOLS[self.protocol].drops)
        for method in self.methods:
            entry = METHODS[method]
            one_stage = not self.is_stream and self.protocol_stages == 1
            if entry.evaluates_others and self.protocol in OF_WHAT_IS_TRAINED:
                raise UserError(
                    f"method {method!r} evaluates other parameters than it trains,"
                    f" which {self.protocol} does not look at"
                )
            if entry.layer_norm and self.protocol == "balancedness":
                raise UserError(f"{CHAIN}: leave {method!r} out")
            if entry.at_change is not None and one_stage:
                raise UserError(
                    f"method {method!r} acts at changes of data, and {self.protocol}"
                    " has none"
                )
            if entry.at_falls and not falls:
                decaying = self.is_stream or f"{self.protocol}-decay" in PROTOCOLS
                raise UserError(
                    f"method {method!r} is swr where the learning rate never falls: use"
                    f" swr{', or add --decay' if decaying else ''}"
                )
            if entry.fresh and not self.is_stream:
                raise UserError(
                    f"method {method!r} belongs to streams: {self._instead()}"
                )
            if entry.last_stage_only and self.protocol != "warm-start":
                raise UserError(
                    f"method {method!r} belongs to warm-start: {self._instead()}"
                )
            if entry.layer_norm and not MODELS[self.model].with_layer_norm:
                raise UserError(
                    f"method {method!r} needs a network that has a variant with"
                    f" LayerNorm, and {self.model!r} has none"
                )

    def _instead(self) -> str:
        """What this protocol has in place of another's control."""
        if self.protocol_stages == 1 and not self.is_stream:
            return "use vanilla"
        scratch = "scratch" if self.protocol == "warm-start" else "vanilla"
        return f"use {scratch} or full_reset"

    def network(self, method: str) -> str:
        """Name of the network that a method trains."""
        variant = MODELS[self.model].with_layer_norm
        return variant if METHODS[method].layer_norm else self.model


def profile_options(
    name: str, protocol: str, model: str, dataset: str
) -> dict[str, int | None]:
    """Lengths of a profile: the published ones, or minutes on two cores."""
    if protocol in STREAMS:
        size, tasks, _ = STREAMS[protocol].length(name, dataset)
        return {
            "epochs": size.epochs,
            "seeds": QUICK_SEEDS if name == "quick" else 5,
            "train_images": size.images,
            "tasks": tasks,
            "batch_size": size.batch,
        }
    entry = PROTOCOLS[protocol]
    if name == "paper":
        seeds = 3 if model == "vgg16" else 5
        return {
            "epochs": entry.epochs,
            "seeds": seeds,
            "train_images": None,
            "test_images": None,
        }
    bundled = SOURCES[dataset].bundled  # Such a set is small as it is.
    train_images, test_images = (None, None) if bundled else QUICK_IMAGES
    return {
        "epochs": round(entry.quick_epochs * MODELS[model].quick),
        "seeds": QUICK_SEEDS,
        "train_images": train_images,
        "test_images": test_images,
    }

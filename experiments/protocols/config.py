"""Everything that determines a run, checked before any data are loaded."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from importlib import metadata
import json
import platform
import sys

import jax

from experiments.data import SOURCES
from experiments.errors import UserError, check_name
from experiments.methods import METHODS
from experiments.methods.coefficients import Choice, Coefficient, default_coefficient
from experiments.models import MODELS
from experiments.protocols.stages import PROTOCOLS

QUICK_SEEDS = 2
QUICK_IMAGES = (2500, 2000)
"""To train on and to test on, in the profile ``quick``."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Configuration of a run.

    Attributes:
        protocol: name in :data:`experiments.protocols.stages.PROTOCOLS`.
        dataset: name in :data:`experiments.data.SOURCES`.
        model: name in :data:`experiments.models.MODELS`.
        methods: names in :data:`experiments.methods.METHODS`.
        coefficients: of methods that are not to take their default.
        seeds: how many; they are 0, 1, 2, …
        epochs: length of each stage.
        train_images: size of a random subset to train on; None for all.
        test_images: the same for testing.
        batch_size: images in a step.
        learning_rate: Adam's, at the start.
    """

    protocol: str = "warm-start"
    dataset: str = "digits"
    model: str = "mlp"
    methods: tuple[str, ...] = ()
    coefficients: Mapping[str, Coefficient] = dataclasses.field(default_factory=dict)
    seeds: int = 5
    epochs: int = 100
    train_images: int | None = None
    test_images: int | None = None
    batch_size: int = 256
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        check_name(self.protocol, PROTOCOLS, "protocol")
        check_name(self.dataset, SOURCES, "data set")
        check_name(self.model, MODELS, "model")
        height, width, _ = SOURCES[self.dataset].shape
        misfit = MODELS[self.model].misfit(height, width)
        if misfit is not None:
            raise UserError(
                f"model {self.model!r} does not fit {self.dataset!r}: {misfit}"
            )
        for name in ("seeds", "epochs", "train_images", "test_images", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1, not {value}")
        if self.train_images is not None and self.train_images < self.protocol_stages:
            raise UserError(
                f"train_images {self.train_images} are fewer than the"
                f" {self.protocol_stages} stages of {self.protocol}"
            )
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(f"learning_rate must be positive, not {self.learning_rate}")
        if self.protocol == "balancedness" and self.model != "mlp":
            raise UserError(
                "balancedness is for a chain of dense layers: use --model mlp, not"
                f" {self.model}"
            )
        if not self.methods:
            object.__setattr__(self, "methods", self._default_methods())
        self._check_methods()
        self._check_coefficients()

    @property
    def protocol_stages(self) -> int:
        """How many stages the protocol has."""
        return PROTOCOLS[self.protocol].stages

    @property
    def profile(self) -> str:
        """``"paper"`` or ``"quick"`` if all lengths are those, else ``"custom"``."""
        lengths = (self.epochs, self.seeds, self.train_images, self.test_images)
        for name in ("paper", "quick"):
            options = profile_options(name, self.protocol, self.model, self.dataset)
            if lengths == tuple(options.values()):
                return name
        return "custom"

    def coefficient(self, method: str) -> Coefficient | None:
        """The method's coefficient, or None if it has none."""
        if method in self.coefficients:
            return self.coefficients[method]
        choice = self._default_coefficient(method)
        return None if choice is None else choice.value

    def unpublished(self) -> list[str]:
        """Methods whose coefficient is a default of ours and not the paper's."""
        return [
            method
            for method in self.methods
            if method not in self.coefficients
            and (choice := self._default_coefficient(method)) is not None
            and not choice.published
        ]

    def to_json(self) -> str:
        """All that a repetition needs: the fields, versions and the device."""
        described = dataclasses.asdict(self)
        described["profile"] = self.profile
        described["stages"] = self.protocol_stages
        described["coefficients"] = {
            method: self.coefficient(method)
            for method in self.methods
            if self.coefficient(method) is not None
        }
        described["versions"] = {
            name: metadata.version(name)
            for name in ("swr-optax", "jax", "jaxlib", "optax", "flax", "numpy")
        } | {"python": platform.python_version()}
        described["device"] = {
            "platform": jax.default_backend(),
            "kind": jax.devices()[0].device_kind,
        }
        return json.dumps(described, indent=2) + "\n"

    def _default_coefficient(self, method: str) -> Choice | None:
        return default_coefficient(method, self.protocol, self.dataset, self.model)

    def _default_methods(self) -> tuple[str, ...]:
        """The paper gives two coefficients to networks with normalisation layers."""
        methods = PROTOCOLS[self.protocol].methods
        if not MODELS[self.model].normalises:
            return methods
        return tuple("swr_two" if name == "swr" else name for name in methods)

    def _check_methods(self) -> None:
        for method in self.methods:
            check_name(method, METHODS, "method")
            if self.methods.count(method) > 1:
                raise UserError(f"method {method!r} is named twice")
            entry = METHODS[method]
            one_stage = self.protocol_stages == 1
            if entry.at_change is not None and one_stage:
                raise UserError(
                    f"method {method!r} acts at changes of data, and {self.protocol}"
                    " has none"
                )
            if entry.last_stage_only and self.protocol != "warm-start":
                raise UserError(
                    f"method {method!r} belongs to warm-start: use vanilla or"
                    " full_reset"
                )

    def _check_coefficients(self) -> None:
        for method, value in self.coefficients.items():
            if method not in self.methods:
                raise UserError(
                    f"coefficient for {method!r}, which is not among the methods:"
                    f" {' '.join(self.methods)}"
                )
            if self._default_coefficient(method) is None:
                raise UserError(f"method {method!r} has no coefficient")
            grouped = isinstance(value, Mapping)
            if grouped and not method.startswith("swr"):
                raise UserError(f"method {method!r} has one coefficient, not several")
            if method == "swr_two" and not grouped:
                raise UserError(
                    "method 'swr_two' has two coefficients: give it"
                    " swr_two=feature:1e-4,classifier:1e-1"
                )
            if isinstance(value, Mapping) and set(value) != {"feature", "classifier"}:
                raise UserError(
                    f"coefficients of {method!r} must be for feature and classifier,"
                    f" not {', '.join(value)}"
                )
            # A penalty may weigh any number; the others go a fraction of a way.
            bound = sys.float_info.max if method in ("l2", "l2_init") else 1
            for number in value.values() if isinstance(value, Mapping) else [value]:
                if not 0 <= number <= bound:
                    allowed = "from 0 to 1" if bound == 1 else "0 or a positive number"
                    raise UserError(
                        f"coefficient of {method!r} must be {allowed}, not {number:g}"
                    )


def profile_options(
    name: str, protocol: str, model: str, dataset: str
) -> dict[str, int | None]:
    """Lengths of a profile: the paper's, or minutes on two cores."""
    entry = PROTOCOLS[protocol]
    if name == "paper":
        seeds = 3 if model == "vgg16" else 5
        return {
            "epochs": entry.epochs,
            "seeds": seeds,
            "train_images": None,
            "test_images": None,
        }
    bundled = SOURCES[dataset].download is None  # Such a set is small as it is.
    train_images, test_images = (None, None) if bundled else QUICK_IMAGES
    return {
        "epochs": round(entry.quick_epochs * MODELS[model].quick),
        "seeds": QUICK_SEEDS,
        "train_images": train_images,
        "test_images": test_images,
    }

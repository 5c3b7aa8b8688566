"""Everything that determines a run, checked before any data are loaded."""

from __future__ import annotations

import dataclasses
from importlib import metadata
import json
import platform

import jax

from experiments.datasets import SOURCES
from experiments.errors import UserError, check_name
from experiments.methods import METHODS
from experiments.models import MODELS


@dataclasses.dataclass(frozen=True)
class Config:
    """Configuration of a run.

    Attributes:
        dataset: name in :data:`experiments.datasets.SOURCES`.
        methods: names in :data:`experiments.methods.METHODS`.
        model: name in :data:`experiments.models.MODELS`.
        protocol: the experiment.
        seeds: how many; they are 0, 1, 2, …
        epochs: length of each phase.
        batch_size: images in a step.
        learning_rate: Adam's.
    """

    dataset: str = "digits"
    methods: tuple[str, ...] = tuple(METHODS)
    model: str = "mlp"
    protocol: str = "warm-start"
    seeds: int = 5
    epochs: int = 100
    batch_size: int = 256
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        check_name(self.dataset, SOURCES, "data set")
        check_name(self.model, MODELS, "model")
        if not self.methods:
            raise UserError("no methods: name at least one")
        for method in self.methods:
            check_name(method, METHODS, "method")
            if self.methods.count(method) > 1:
                raise UserError(f"method {method!r} is named twice")
            if METHODS[method].coefficients and self.coefficient(method) is None:
                raise UserError(
                    f"method {method!r} has no coefficient for {self.dataset!r}"
                )
        height, width, _ = SOURCES[self.dataset].shape
        misfit = MODELS[self.model].misfit(height, width)
        if misfit is not None:
            raise UserError(
                f"model {self.model!r} does not fit {self.dataset!r}: {misfit}"
            )
        for name in ("seeds", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(f"learning_rate must be positive, not {self.learning_rate}")

    def coefficient(self, method: str) -> float | None:
        """The method's coefficient on this data set, if the method has one."""
        return METHODS[method].coefficients.get(self.dataset)

    def to_json(self) -> str:
        """All that a repetition needs: the fields, versions and the device."""
        described = dataclasses.asdict(self)
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

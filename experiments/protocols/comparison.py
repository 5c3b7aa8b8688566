"""Methods that a run compares, with their coefficients, rates and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
from importlib import metadata
import json
import math
import platform
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from experiments.errors import UserError, check_count, check_name
from experiments.methods import METHODS
from experiments.methods.coefficients import Choice, Coefficient
from experiments.methods.table import GROUPS
from experiments.training.lanes import Member

OPTIMIZERS = {"adam": optax.adam, "sgd": optax.sgd}
"""From a learning rate; all else is Optax's default."""

LEAST, LARGEST = (float(x) for x in (jnp.finfo("f4").tiny, jnp.finfo("f4").max))
"""Positive numbers that training can tell from 0 and from infinity."""

SWEEP_SEED = 1000
"""The first of a sweep's own seeds; those of runs are below."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the configurations of all runs have in common.

    Attributes:
        methods: names in :data:`experiments.methods.METHODS`.
        coefficients: of methods that are not to take their default.
        seeds: how many, one after the other.
        first_seed: the first of them; from another than 0 a run adds seeds to those of
            an earlier one.
        optimizer: ``"adam"``, or ``"sgd"`` without momentum.
        learning_rate: the optimiser's, at the start.
        learning_rates: of methods that are to have one of their own.
    """

    PACKAGES: ClassVar[Sequence[str]] = (
        *("swr-optax", "jax", "jaxlib", "optax", "flax", "numpy"),
    )
    """Whose versions a repetition needs."""

    methods: tuple[str, ...] = ()
    coefficients: Mapping[str, Coefficient] = dataclasses.field(default_factory=dict)
    seeds: int = 5
    first_seed: int = 0
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    learning_rates: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def default_coefficient(self, method: str) -> Choice | None:
        """A method's coefficient if none is given; None if it has none.

        Each kind of run says where it finds it.
        """
        raise NotImplementedError

    def to_json(self) -> str:
        """All that a repetition needs, which each kind of run says."""
        raise NotImplementedError

    def rate(self, method: str) -> float:
        """The method's learning rate."""
        usual = METHODS[method].rate or self.learning_rate
        return self.learning_rates.get(method, usual)

    @property
    def seed_range(self) -> range:
        """The seeds themselves."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def members(self, method: str) -> tuple[Member, ...]:
        """A method's runs: each seed with the configured coefficient and rate."""
        coefficient = self.coefficient(method) or 0.0
        return tuple(
            Member(seed, coefficient, self.rate(method)) for seed in self.seed_range
        )

    def fresh_seed(self, seed: int, task: int) -> int:
        """The seed of a fresh network, which no run's own seed is."""
        return 1_000_003 * task + seed

    def coefficient(self, method: str) -> Coefficient | None:
        """The method's coefficient, or None if it has none."""
        if method in self.coefficients:
            return self.coefficients[method]
        choice = self.default_coefficient(method)
        return None if choice is None else choice.value

    def unpublished(self) -> list[str]:
        """Methods whose coefficient is a default, and no table's."""
        return [
            method
            for method in self.methods
            if method not in self.coefficients
            and (choice := self.default_coefficient(method)) is not None
            and not choice.published
        ]

    def described(self, **more: Any) -> str:
        """All that a repetition needs, as JSON: fields, versions and the device.

        Args:
            **more: what else to say.
        """
        found = dataclasses.asdict(self) | more
        if not self.first_seed:  # Or runs of before there was one would be others.
            del found["first_seed"]
        found["coefficients"] = {
            method: self.coefficient(method)
            for method in self.methods
            if self.coefficient(method) is not None
        }
        found["learning_rates"] = {
            method: self.rate(method)
            for method in self.methods
            if method in self.learning_rates or METHODS[method].rate is not None
        }
        found["versions"] = {name: metadata.version(name) for name in self.PACKAGES} | {
            "python": platform.python_version()
        }
        found["device"] = {
            "platform": jax.default_backend(),
            "kind": jax.devices()[0].device_kind,
        }
        return json.dumps(found, indent=2) + "\n"

    def check_counts(self, *names: str) -> None:
        """Checks fields that count something, where they are given.

        Raises:
            UserError: naming one that makes no sense.
        """
        for name in names:
            value = getattr(self, name)
            if value is not None:
                check_count(value, name)

    def check_comparison(self) -> None:
        """Checks what is in common.

        Raises:
            UserError: naming what does not fit.
        """
        check_name(self.optimizer, OPTIMIZERS, "optimizer")
        self.check_counts("seeds")
        if self.first_seed < 0:
            raise UserError(f"first_seed must be at least 0, not {self.first_seed}")
        if self.seed_range.stop > SWEEP_SEED:
            raise UserError(
                f"first_seed and seeds must keep to seeds below {SWEEP_SEED}, where"
                f" those of sweeps begin, not end with {self.seed_range[-1]}"
            )
        for rate in (self.learning_rate, *self.learning_rates.values()):
            if not 0 < rate < math.inf:
                raise UserError(f"learning_rate must be positive, not {rate}")
            if not LEAST <= rate <= LARGEST:
                raise UserError(
                    f"learning_rate must be from {LEAST:.1e} to {LARGEST:.1e}, as"
                    f" float32 is, not {rate}"
                )
        for method in self.methods:
            check_name(method, METHODS, "method")
            if self.methods.count(method) > 1:
                raise UserError(f"method {method!r} is named twice")
        for method in self.learning_rates:
            if method not in self.methods:
                raise UserError(
                    f"learning rate for {method!r}, which is not among the methods:"
                    f" {' '.join(self.methods)}"
                )
        self._check_coefficients()

    def _check_coefficients(self) -> None:
        for method, value in self.coefficients.items():
            if method not in self.methods:
                raise UserError(
                    f"coefficient for {method!r}, which is not among the methods:"
                    f" {' '.join(self.methods)}"
                )
            if self.default_coefficient(method) is None:
                raise UserError(f"method {method!r} has no coefficient")
            entry = METHODS[method]
            names = entry.coefficients
            if isinstance(value, Mapping):
                names = names or (GROUPS if method.startswith("swr") else ())
                if not names:
                    raise UserError(
                        f"method {method!r} has one coefficient, not several"
                    )
                if set(value) != set(names):
                    raise UserError(
                        f"coefficients of {method!r} must be for {' and '.join(names)},"
                        f" not {', '.join(value)}"
                    )
            elif names:
                example = ",".join(f"{n}:{x:g}" for n, x in _items(entry.default))
                raise UserError(
                    f"method {method!r} has {len(names)} coefficients, such as"
                    f" {example}"
                )
            for _, number in _items(value):
                if not 0 <= number <= min(entry.largest, LARGEST):
                    allowed = (
                        "0 or a positive float32"
                        if entry.largest == math.inf
                        else f"from 0 to {entry.largest:g}"
                    )
                    raise UserError(
                        f"coefficient of {method!r} must be {allowed}, not {number:g}"
                    )


def _items(coefficient: Coefficient | None) -> list[tuple[str, float]]:
    """Numbers by their names; one alone has none."""
    if isinstance(coefficient, Mapping):
        return list(coefficient.items())
    return [] if coefficient is None else [("", coefficient)]

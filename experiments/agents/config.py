"""Everything that determines a run of agents."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from experiments.agents.environments import ENVIRONMENTS, Environment, check_gymnax
from experiments.agents.ppo import Ppo
from experiments.agents.settings import (
    AGENT_COEFFICIENTS,
    LENGTHS,
    METHODS_COMPARED,
)
from experiments.errors import UserError, check_count, check_name
from experiments.methods import METHODS
from experiments.methods.coefficients import Choice
from experiments.methods.method import Method
from experiments.models import AGENT_MODELS
from experiments.protocols.comparison import Comparison

AGENT = "agent"
"""As ``metrics.csv`` calls it; its data set is the environment."""

PARTS = 10
"""Of a level: what counts is the return in the last of them."""


@dataclasses.dataclass(frozen=True)
class AgentConfig(Comparison):
    """Configuration of a run of agents.

    Attributes, beside those of every run:
        dataset: the environment, a name in
            :data:`experiments.agents.environments.ENVIRONMENTS`.
        model: name in :data:`experiments.models.AGENT_MODELS`.
        tasks: levels.
        iterations: of each level, a multiple of :data:`PARTS`.
        ppo: settings of PPO.
    """

    PACKAGES: ClassVar = (*Comparison.PACKAGES, "gymnax")

    dataset: str = "cartpole"
    model: str = "actor_critic"
    tasks: int = 10
    iterations: int = 200
    ppo: Ppo = dataclasses.field(default_factory=Ppo)

    def __post_init__(self) -> None:
        check_gymnax()
        check_name(self.dataset, ENVIRONMENTS, "environment")
        check_name(self.model, AGENT_MODELS, "model")
        if AGENT_MODELS[self.model].images != (len(self.environment.shape) > 1):
            fitting = [
                name
                for name, entry in AGENT_MODELS.items()
                if entry.images == (len(self.environment.shape) > 1)
            ]
            raise UserError(
                f"model {self.model!r} does not fit {self.dataset!r}: choose from"
                f" {', '.join(fitting)}"
            )
        check_count(self.tasks, "levels")
        self.check_counts("iterations")
        if self.iterations % PARTS:
            raise UserError(
                f"iterations must be a multiple of {PARTS}, not {self.iterations}"
            )
        if not self.methods:
            object.__setattr__(self, "methods", METHODS_COMPARED)
        self.check_comparison()
        for method in self.methods:
            self._check_method(method, METHODS[method])

    @property
    def small(self) -> bool:
        """Whether a step of the network takes little scratch memory: all do."""
        return True

    @property
    def protocol(self) -> str:
        """Name of the experiment."""
        return AGENT

    @property
    def environment(self) -> Environment:
        """That changes from level to level."""
        return ENVIRONMENTS[self.dataset]

    @property
    def profile(self) -> str:
        """``"paper"`` or ``"quick"`` if all lengths are those, else ``"custom"``."""
        mine = (self.tasks, self.iterations)
        for name, length in LENGTHS[self.dataset].items():
            if mine == (length.levels, length.iterations):
                return name
        return "custom"

    def default_coefficient(self, method: str) -> Choice | None:
        """See :class:`experiments.protocols.comparison.Comparison`."""
        default = METHODS[method].default
        if default is None:
            return None
        swept = method in AGENT_COEFFICIENTS
        return Choice(AGENT_COEFFICIENTS.get(method, default), published=swept)

    def to_json(self) -> str:
        """All that a repetition needs: the fields, versions and the device."""
        return self.described(
            protocol=self.protocol,
            profile=self.profile,
            ppo=self.ppo._asdict(),
            epochs=self.ppo.epochs,
            batch_size=self.ppo.batch,
        )

    def _check_method(self, name: str, method: Method) -> None:
        if method.last_stage_only:
            raise UserError(
                f"method {name!r} belongs to warm-start: use fresh or vanilla"
            )
        if method.at_falls:
            raise UserError(
                f"method {name!r} is swr where the learning rate never falls: use swr"
            )
        if method.passes:
            raise UserError(
                f"method {name!r} takes a pass over new data, which an agent does not"
                " have before it has played: leave it out"
            )
        if method.evaluates_others:
            raise UserError(
                f"method {name!r} evaluates other parameters than it trains, and an"
                " agent acts with those that it trains: leave it out"
            )

"""What a method against the loss of plasticity is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax
import optax

from experiments.methods.coefficients import Coefficient
from swr_optax import RescalingPlan


class Setting(NamedTuple):
    """What a method is given.

    Attributes:
        coefficient: its λ, one for each group of layers if it has several; an
            array that may be traced, so that a sweep compiles once.
        learning_rate: the initial one; may be traced.
        seed: of the run, for methods that draw numbers; may be traced.
        plan: of the network.
        function_plan: with the priority ``"function"``, made when it is asked for.
        kept_plan: the same, with all outputs kept as they are.
        init: key → new parameters of the network.
        decay: step → the learning rate over the initial one.
        drops: the steps at which the learning rate falls.
    """

    coefficient: Any
    learning_rate: Any
    seed: Any
    plan: RescalingPlan
    function_plan: Callable[[], RescalingPlan]
    kept_plan: Callable[[], RescalingPlan]
    init: Callable[[jax.Array], Any]
    decay: Callable[[jax.typing.ArrayLike], jax.typing.ArrayLike]
    drops: tuple[int, ...]


Penalty = Callable[[Any, Setting], jax.typing.ArrayLike]
Optimizer = Callable[
    [optax.GradientTransformation, Setting], optax.GradientTransformation
]
Statistics = Callable[[Any, Any, Setting], Any]
AtChange = Callable[[Any, Any, Setting, Callable[[], Any]], Any]
Evaluated = Callable[[Any, Any], Any]


def _nothing(params: Any, setting: Setting) -> jax.typing.ArrayLike:
    del params, setting
    return 0.0


def _plain(
    optimizer: optax.GradientTransformation, setting: Setting
) -> optax.GradientTransformation:
    del setting
    return optimizer


def _as_measured(stats: Any, opt_state: Any, setting: Setting) -> Any:
    del opt_state, setting
    return stats


def _as_trained(params: Any, opt_state: Any) -> Any:
    del opt_state
    return params


@dataclasses.dataclass(frozen=True)
class Method:
    """What a method does, and when.

    Attributes:
        label: its name in tables and figures.
        source: where it was published.
        penalty: what it adds to the loss, from the parameters.
        optimizer: the transformation that trains, from the plain optimiser.
        statistics: running statistics after a step, from those that the network
            measured and the optimiser's state.
        at_change: new parameters when the data change, from the present and the
            initial parameters, the setting, and a function that takes one pass over
            the new data and returns the moving average of the negative gradient; None
            if it does nothing then.
        evaluated: the parameters that are evaluated, from those that are trained and
            the optimiser's state.
        observes_units: whether its transformation is given the hidden units'
            activations.
        coefficients: names of its λ if it has several.
        default: its λ where no table has one; None if it has none.
        grid: the values among which a sweep chooses.
        largest: of what λ may be.
        rate: a learning rate other than all have, for one that is an optimiser itself.
        last_stage_only: whether it trains on the last stage's data alone.
        fresh: whether network and optimiser are new ones for each task of a stream.
        layer_norm: whether it trains the network that has LayerNorm in front of its
            nonlinearities.
        passes: whether it takes a pass over the new data when they change.
        at_falls: whether it is SWR but where the learning rate falls.
    """

    label: str
    source: str
    penalty: Penalty = _nothing
    optimizer: Optimizer = _plain
    statistics: Statistics = _as_measured
    at_change: AtChange | None = None
    evaluated: Evaluated = _as_trained
    observes_units: bool = False
    coefficients: tuple[str, ...] = ()
    default: Coefficient | None = None
    grid: tuple[Coefficient, ...] = ()
    largest: float = 1.0
    rate: float | None = None
    last_stage_only: bool = False
    fresh: bool = False
    layer_norm: bool = False
    passes: bool = False
    at_falls: bool = False

    @property
    def evaluates_others(self) -> bool:
        """Whether other parameters are evaluated than those that are trained."""
        return self.evaluated is not _as_trained

"""What a method against the loss of plasticity is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax
import optax

from swr_optax import RescalingPlan


class Setting(NamedTuple):
    """What a method is given.

    Attributes:
        coefficient: its λ, one for each group of layers if it has several; an
            array that may be traced, so that a sweep compiles once.
        learning_rate: the initial one; may be traced.
        seed: of the run, for methods that draw numbers; may be traced.
        plan: of the network.
        init: key → new parameters of the network.
        decay: step → the learning rate over the initial one.
        drops: the steps at which the learning rate falls.
    """

    coefficient: Any
    learning_rate: Any
    seed: Any
    plan: RescalingPlan
    init: Callable[[jax.Array], Any]
    decay: Callable[[jax.typing.ArrayLike], jax.typing.ArrayLike]
    drops: tuple[int, ...]


Penalty = Callable[[Any, Setting], jax.typing.ArrayLike]
Optimizer = Callable[
    [optax.GradientTransformation, Setting], optax.GradientTransformation
]
Statistics = Callable[[Any, Any, Setting], Any]
AtChange = Callable[[Any, Any, Setting], Any]


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
            initial parameters; None if it does nothing then.
        last_stage_only: whether it trains on the last stage's data alone.
        fresh: whether network and optimiser are new ones for each task of a stream.
    """

    label: str
    source: str
    penalty: Penalty = _nothing
    optimizer: Optimizer = _plain
    statistics: Statistics = _as_measured
    at_change: AtChange | None = None
    last_stage_only: bool = False
    fresh: bool = False

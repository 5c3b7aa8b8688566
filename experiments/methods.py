"""Methods against the loss of plasticity, each an entry of one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import optax

import swr_optax
from swr_optax import RescalingPlan

Optimizer = Callable[
    [optax.GradientTransformation, float, RescalingPlan], optax.GradientTransformation
]
AtChange = Callable[[Any, Any, float, RescalingPlan], Any]
Statistics = Callable[[Any, Any, RescalingPlan], Any]


def _plain(
    optimizer: optax.GradientTransformation, coefficient: float, plan: RescalingPlan
) -> optax.GradientTransformation:
    del coefficient, plan
    return optimizer


def _keep(params: Any, initial: Any, coefficient: float, plan: RescalingPlan) -> Any:
    del initial, coefficient, plan
    return params


def _as_measured(stats: Any, opt_state: Any, plan: RescalingPlan) -> Any:
    del opt_state, plan
    return stats


@dataclasses.dataclass(frozen=True)
class Method:
    """What a method does, and when.

    Attributes:
        label: its name in tables and figures.
        source: where it was published.
        coefficients: its coefficient for each data set, if it has one: the
            paper's best for its warm start; for digits, which the paper does not
            have, ours (see the README).
        optimizer: the transformation that trains, from the plain optimiser, the
            coefficient and the network's plan.
        at_change: new parameters when the data change, from the present and the
            initial parameters.
        statistics: what happens to running statistics after a step.
        warm_start: whether it trains on the first data at all.
    """

    label: str
    source: str
    coefficients: Mapping[str, float] = dataclasses.field(default_factory=dict)
    optimizer: Optimizer = _plain
    at_change: AtChange = _keep
    statistics: Statistics = _as_measured
    warm_start: bool = True


METHODS: dict[str, Method] = {
    "scratch": Method(
        label="scratch",
        source="trains on all data from the start",
        warm_start=False,
    ),
    "vanilla": Method(
        label="vanilla (warm)",
        source="goes on training, with nothing done",
    ),
    "l2": Method(
        label="L2",
        source="Krogh and Hertz, NeurIPS 1991",
        coefficients={"digits": 1e-5, "mnist": 1e-5},
        optimizer=lambda optimizer, coefficient, _: optax.chain(
            optax.add_decayed_weights(coefficient), optimizer
        ),
    ),
    "l2_init": Method(
        label="L2 Init",
        source="Kumar et al., arXiv 2308.11958",
        coefficients={"digits": 1e-5, "mnist": 1e-5},
        optimizer=lambda optimizer, coefficient, _: optax.chain(
            swr_optax.l2_init(coefficient), optimizer
        ),
    ),
    "shrink_and_perturb": Method(
        label="S&P",
        source="Ash and Adams, arXiv 1910.08475",
        coefficients={"digits": 0.4, "mnist": 0.4},
        at_change=lambda params, initial, coefficient, _: swr_optax.shrink_and_perturb(
            params, initial, coefficient
        ),
    ),
    "head_reset": Method(
        label="head reset",
        source="Nikishin et al., arXiv 2205.07802",
        at_change=lambda params, initial, _, plan: swr_optax.reset_head(
            params, initial, plan
        ),
    ),
    "full_reset": Method(
        label="full reset",
        source="returns to the initial parameters and keeps the optimiser's state",
        at_change=lambda params, initial, *_: swr_optax.reset_all(params, initial),
    ),
    "swr": Method(
        label="SWR",
        source="Oh et al., arXiv 2507.04683",
        coefficients={"digits": 1e-4, "mnist": 1e-4},
        optimizer=lambda optimizer, coefficient, plan: optax.chain(
            optimizer, swr_optax.soft_weight_rescaling(coefficient, plan)
        ),
        statistics=swr_optax.rescale_statistics,
    ),
}
"""By name; a new method is one entry."""

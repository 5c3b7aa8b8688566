"""Which parameters scale with which: jaxpr → degrees → constraints → plan."""

from swr_optax.planning._check import Check, check
from swr_optax.planning._plan_rescaling import plan_rescaling
from swr_optax.planning._rescale import rescale
from swr_optax.planning._sequential_plan import SequentialLayer, sequential_plan
from swr_optax.planning._with_activations import with_activations
from swr_optax.planning.plan import Leaf, RescalingPlan, Units, UnitSlices

__all__ = [
    "Check",
    "Leaf",
    "RescalingPlan",
    "SequentialLayer",
    "UnitSlices",
    "Units",
    "check",
    "plan_rescaling",
    "rescale",
    "sequential_plan",
    "with_activations",
]

"""Soft Weight Rescaling for Optax: networks that stay able to learn.

Start with :func:`plan_rescaling`, which finds out from a network's own jaxpr
which parameters scale with which, and chain :func:`soft_weight_rescaling`
behind the optimiser.
"""

from swr_optax import metrics
from swr_optax._optimizer_state import rescale_statistics, reset_reference_norms
from swr_optax._soft_weight_rescaling import (
    SoftWeightRescalingState,
    soft_weight_rescaling,
)
from swr_optax.baselines import l2_init, reset_all, reset_head, shrink_and_perturb
from swr_optax.planning import (
    Check,
    Leaf,
    RescalingPlan,
    SequentialLayer,
    Units,
    UnitSlices,
    check,
    plan_rescaling,
    rescale,
    sequential_plan,
    with_activations,
)

__version__ = "0.1.0"

__all__ = [
    "Check",
    "Leaf",
    "RescalingPlan",
    "SequentialLayer",
    "SoftWeightRescalingState",
    "UnitSlices",
    "Units",
    "check",
    "l2_init",
    "metrics",
    "plan_rescaling",
    "rescale",
    "rescale_statistics",
    "reset_all",
    "reset_head",
    "reset_reference_norms",
    "sequential_plan",
    "shrink_and_perturb",
    "soft_weight_rescaling",
    "with_activations",
]

"""Soft Weight Rescaling for Optax: networks that stay able to learn.

Start with :func:`plan_rescaling`, which finds out from a network's own jaxpr
which parameters scale with which, and chain :func:`soft_weight_rescaling`
behind the optimiser.
"""

from swr_optax import metrics
from swr_optax._optimizer_state import (
    carry_reference_norms,
    rescale_statistics,
    reset_reference_norms,
)
from swr_optax._soft_weight_rescaling import (
    SoftWeightRescalingState,
    soft_weight_rescaling,
)
from swr_optax.baselines import (
    accumulate_descent,
    continual_backprop,
    dash,
    fire,
    hare_and_tortoise,
    l2_directions,
    l2_init,
    orthogonal_decay,
    project_norms,
    redo,
    reset_all,
    reset_head,
    self_normalized_resets,
    shrink_and_perturb,
    shrink_and_perturb_each_step,
    spectral_regularization,
    tortoise_params,
    upgd,
    wasserstein_l2,
    weight_clipping,
)
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
    "accumulate_descent",
    "carry_reference_norms",
    "check",
    "continual_backprop",
    "dash",
    "fire",
    "hare_and_tortoise",
    "l2_directions",
    "l2_init",
    "metrics",
    "orthogonal_decay",
    "plan_rescaling",
    "project_norms",
    "redo",
    "rescale",
    "rescale_statistics",
    "reset_all",
    "reset_head",
    "reset_reference_norms",
    "self_normalized_resets",
    "sequential_plan",
    "shrink_and_perturb",
    "shrink_and_perturb_each_step",
    "soft_weight_rescaling",
    "spectral_regularization",
    "tortoise_params",
    "upgd",
    "wasserstein_l2",
    "weight_clipping",
    "with_activations",
]

"""Other remedies against loss of plasticity, to compare with SWR or chain with it.

A remedy is one file, with the paper that it is from.  Those in ``every_step`` are
transformations, those in ``units`` wrappers of an optimiser that reset single
units, and those in ``at_changes`` functions of the parameters, for when the data
change.
"""

from swr_optax.baselines.at_changes import (
    accumulate_descent,
    dash,
    fire,
    reset_all,
    reset_head,
    shrink_and_perturb,
)
from swr_optax.baselines.every_step import (
    HareAndTortoiseState,
    L2DirectionsState,
    L2InitState,
    OrthogonalDecayState,
    ProjectNormsState,
    ShrinkAndPerturbEachStepState,
    SpectralRegularizationState,
    UPGDState,
    WassersteinL2State,
    hare_and_tortoise,
    l2_directions,
    l2_init,
    orthogonal_decay,
    project_norms,
    shrink_and_perturb_each_step,
    spectral_regularization,
    tortoise_params,
    upgd,
    wasserstein_l2,
    weight_clipping,
)
from swr_optax.baselines.units import (
    ContinualBackpropState,
    ReDoState,
    SelfNormalizedResetsState,
    continual_backprop,
    redo,
    self_normalized_resets,
)

__all__ = [
    "ContinualBackpropState",
    "HareAndTortoiseState",
    "L2DirectionsState",
    "L2InitState",
    "OrthogonalDecayState",
    "ProjectNormsState",
    "ReDoState",
    "SelfNormalizedResetsState",
    "ShrinkAndPerturbEachStepState",
    "SpectralRegularizationState",
    "UPGDState",
    "WassersteinL2State",
    "accumulate_descent",
    "continual_backprop",
    "dash",
    "fire",
    "hare_and_tortoise",
    "l2_directions",
    "l2_init",
    "orthogonal_decay",
    "project_norms",
    "redo",
    "reset_all",
    "reset_head",
    "self_normalized_resets",
    "shrink_and_perturb",
    "shrink_and_perturb_each_step",
    "spectral_regularization",
    "tortoise_params",
    "upgd",
    "wasserstein_l2",
    "weight_clipping",
]

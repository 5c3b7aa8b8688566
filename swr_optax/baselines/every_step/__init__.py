"""Remedies that act at every step: transformations to chain with an optimiser."""

from swr_optax.baselines.every_step._hare_and_tortoise import (
    HareAndTortoiseState,
    hare_and_tortoise,
    tortoise_params,
)
from swr_optax.baselines.every_step._l2_directions import (
    L2DirectionsState,
    l2_directions,
)
from swr_optax.baselines.every_step._l2_init import L2InitState, l2_init
from swr_optax.baselines.every_step._orthogonal_decay import (
    OrthogonalDecayState,
    orthogonal_decay,
)
from swr_optax.baselines.every_step._project_norms import (
    ProjectNormsState,
    project_norms,
)
from swr_optax.baselines.every_step._shrink_and_perturb_each_step import (
    ShrinkAndPerturbEachStepState,
    shrink_and_perturb_each_step,
)
from swr_optax.baselines.every_step._spectral_regularization import (
    SpectralRegularizationState,
    spectral_regularization,
)
from swr_optax.baselines.every_step._upgd import UPGDState, upgd
from swr_optax.baselines.every_step._wasserstein_l2 import (
    WassersteinL2State,
    wasserstein_l2,
)
from swr_optax.baselines.every_step._weight_clipping import weight_clipping

__all__ = [
    "HareAndTortoiseState",
    "L2DirectionsState",
    "L2InitState",
    "OrthogonalDecayState",
    "ProjectNormsState",
    "ShrinkAndPerturbEachStepState",
    "SpectralRegularizationState",
    "UPGDState",
    "WassersteinL2State",
    "hare_and_tortoise",
    "l2_directions",
    "l2_init",
    "orthogonal_decay",
    "project_norms",
    "shrink_and_perturb_each_step",
    "spectral_regularization",
    "tortoise_params",
    "upgd",
    "wasserstein_l2",
    "weight_clipping",
]

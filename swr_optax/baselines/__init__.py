"""Other methods that keep networks plastic, with which SWR is compared.

Each acts on the parameters' distance from their initial values: at every step
(:func:`l2_init`) or when the data change (the others).
"""

from swr_optax.baselines._l2_init import L2InitState, l2_init
from swr_optax.baselines._resets import reset_all, reset_head
from swr_optax.baselines._shrink_and_perturb import shrink_and_perturb

__all__ = ["L2InitState", "l2_init", "reset_all", "reset_head", "shrink_and_perturb"]

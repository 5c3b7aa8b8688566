"""What to watch in a network that learns for long.

Of its weights: :func:`weight_norms`, :func:`weight_growth` and
:func:`balancedness`.  Of its hidden layers: :func:`dormant_fraction` and
:func:`effective_rank`.  Of its outputs after a rescaling:
:func:`proportionality_error`.  All are pure functions of arrays for ``jax.jit``
and ``jax.vmap``.
"""

from swr_optax.metrics._balancedness import balancedness, smallest_equivalent
from swr_optax.metrics._dormant_fraction import dormant_fraction
from swr_optax.metrics._effective_rank import effective_rank
from swr_optax.metrics._proportionality import proportionality_error
from swr_optax.metrics._weight_norms import weight_growth, weight_norms

__all__ = [
    "balancedness",
    "dormant_fraction",
    "effective_rank",
    "proportionality_error",
    "smallest_equivalent",
    "weight_growth",
    "weight_norms",
]

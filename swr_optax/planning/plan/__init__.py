"""What a plan is: its leaves and units, its printed table and its file.

Start with ``_plan.py``.
"""

from swr_optax.planning.plan._leaf import Leaf, Place, rows_of
from swr_optax.planning.plan._plan import RescalingPlan
from swr_optax.planning.plan._priority import Priority
from swr_optax.planning.plan._units import Units, UnitSlices, are_apart

__all__ = [
    "Leaf",
    "Place",
    "Priority",
    "RescalingPlan",
    "UnitSlices",
    "Units",
    "are_apart",
    "rows_of",
]

"""What a plan is: its leaves and units, its printed table and its file.

Start with ``_plan.py``.
"""

from swr_optax.planning.plan._leaf import Leaf
from swr_optax.planning.plan._plan import RescalingPlan
from swr_optax.planning.plan._priority import Priority
from swr_optax.planning.plan._units import Units, UnitSlices

__all__ = ["Leaf", "Priority", "RescalingPlan", "UnitSlices", "Units"]

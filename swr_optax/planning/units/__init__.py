"""Hidden units: which there are, what holds a slice for each, what they put out."""

from swr_optax.planning.units._find_units import FoundUnits, find_units
from swr_optax.planning.units._program import Program
from swr_optax.planning.units._spots import Spot
from swr_optax.planning.units._units import Units, UnitSlices

__all__ = ["FoundUnits", "Program", "Spot", "UnitSlices", "Units", "find_units"]

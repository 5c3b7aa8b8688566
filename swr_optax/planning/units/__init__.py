"""Hidden units: which there are, what holds a slice for each, what they put out."""

from swr_optax.planning.units._find_units import FoundUnits, find_units
from swr_optax.planning.units._program import Program
from swr_optax.planning.units._spots import Spot

__all__ = ["FoundUnits", "Program", "Spot", "find_units"]

"""Hidden units: which there are, what holds a slice for each, what they put out."""

from swr_optax.planning.units._find_units import FoundUnits, Read, find_units
from swr_optax.planning.units._program import Program

__all__ = ["FoundUnits", "Program", "Read", "find_units"]

"""Methods against the loss of plasticity, in one table."""

from experiments.methods.method import Method, Setting
from experiments.methods.table import METHODS

__all__ = ["METHODS", "Method", "Setting"]

"""Methods against the loss of plasticity, in one table."""

from experiments.methods.table import METHODS, Method, Setting

__all__ = ["METHODS", "Method", "Setting"]

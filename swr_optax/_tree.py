"""The type of a tree that comes back with other numbers."""

from typing import TypeVar

Tree = TypeVar("Tree")
"""Parameters, statistics or an optimiser's state, whatever they are made of."""

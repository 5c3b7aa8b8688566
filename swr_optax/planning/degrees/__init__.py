"""How every value of a network scales when its parameters are scaled.

Start with ``_values.py``, which says what is known of a value, and ``_rules.py``.
``_primitives.py`` is the table and ``_traversal.py`` the walk.
"""

from swr_optax.planning.degrees._places import LayerAxes
from swr_optax.planning.degrees._primitives import IDENTITIES, PRIMITIVES, UNKNOWN
from swr_optax.planning.degrees._slices import SliceAxis, shape_of, without_axes
from swr_optax.planning.degrees._stacks import leaf_value, whole
from swr_optax.planning.degrees._traversal import CALLS, INNER, walk_network
from swr_optax.planning.degrees._values import Degree, Known, Requirement, Value
from swr_optax.planning.degrees._walk import Role, Walk

__all__ = [
    "CALLS",
    "IDENTITIES",
    "INNER",
    "PRIMITIVES",
    "UNKNOWN",
    "Degree",
    "Known",
    "LayerAxes",
    "Requirement",
    "Role",
    "SliceAxis",
    "Value",
    "Walk",
    "leaf_value",
    "shape_of",
    "walk_network",
    "whole",
    "without_axes",
]

"""What a plan keeps exactly where norms and function cannot both be kept."""

from typing import Literal

Priority = Literal["norms", "function"]
"""``"norms"`` for each weight's norm, ``"function"`` for the network's function."""

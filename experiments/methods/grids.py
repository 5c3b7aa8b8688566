"""Coefficients and learning rates among which a sweep chooses: the published grids."""

from __future__ import annotations

import itertools

from experiments.errors import UserError
from experiments.methods.coefficients import Coefficient

_POWERS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
_SMALL_POWERS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
_PAIRS: tuple[Coefficient, ...] = tuple(
    {"feature": feature, "classifier": classifier}
    for feature, classifier in itertools.product(_POWERS, _POWERS)
)

GRIDS: dict[str, tuple[Coefficient, ...]] = {
    **dict.fromkeys(("l2", "l2_init"), _SMALL_POWERS),
    "shrink_and_perturb": (0.2, 0.4, 0.6, 0.8),
    **dict.fromkeys(("swr", "swr_reinit", "swr_follow"), _POWERS),
    "swr_two": _PAIRS,
}
"""The paper's (arXiv 2507.04683), and those of each method's authors."""

STREAM_RATES = (1e-3, 1e-4)
"""Adam's learning rates that Kumar et al. (arXiv 2308.11958) try on streams."""


def published_grid(method: str) -> tuple[Coefficient, ...]:
    """The coefficients among which a method's authors chose.

    Raises:
        UserError: if the method has no coefficient.
    """
    if method not in GRIDS:
        raise UserError(
            f"method {method!r} has no coefficient to find: choose from"
            f" {', '.join(GRIDS)}"
        )
    return GRIDS[method]

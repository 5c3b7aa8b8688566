"""From the constraints between leaves to one matrix that scales them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Priority = Literal["norms", "function"]

TOLERANCE = 1e-9
"""Sums of a few small fractions in float64 are exact to far below this."""

DENOMINATOR = 5040
"""All fractions with denominators up to ten are multiples of its inverse."""


def solve_exponents(
    rows: np.ndarray, weights: Sequence[int], priority: Priority
) -> np.ndarray:
    r"""The matrix E in ``s = E @ log_c``: every leaf's scaler from the weights'.

    With K the ``rows``, ``s`` the logarithms of the scalers of all leaves and
    ``log_c`` what is wanted for the weights among them:

    - ``"norms"`` gives every weight exactly what is wanted and the other leaves
      the least-squares solution of :math:`K s = 0`, the smallest if there are
      many: :math:`E_W = I`, :math:`E_R = -K_R^+ K_W`.
    - ``"function"`` solves :math:`K s = 0` exactly and comes as near to what is
      wanted as that allows: :math:`E = N N_W^+` with the columns of N an
      orthonormal basis of the null space of K.

    Where both can be had at once the two are equal.

    Args:
        rows: K, of shape (constraints, leaves).
        weights: the leaves that are weights, in the order of ``log_c``.
        priority: which of the two promises is kept where they conflict.

    Returns:
        E, float64, of shape (leaves, weights).
    """
    columns = list(weights)
    leaves = rows.shape[1]
    if priority == "norms":
        rest = np.setdiff1d(np.arange(leaves), columns)
        exponents = np.zeros((leaves, len(columns)))
        exponents[columns] = np.eye(len(columns))
        if len(rest) and len(rows):
            inverse = np.linalg.pinv(rows[:, rest], rcond=TOLERANCE)
            exponents[rest] = -inverse @ rows[:, columns]
    else:
        basis = _null_space(rows)
        exponents = basis @ np.linalg.pinv(basis[columns], rcond=TOLERANCE)
    return without_noise(exponents)


def without_noise(exponents: np.ndarray) -> np.ndarray:
    """Exponents are small fractions: what a decomposition adds is taken off."""
    fractions = np.round(exponents * DENOMINATOR) / DENOMINATOR
    near = np.abs(exponents - fractions) < TOLERANCE
    return np.where(near, fractions, exponents) + 0.0  # And -0.0 becomes 0.0.


def _null_space(rows: np.ndarray) -> np.ndarray:
    """Orthonormal basis, as columns, of the vectors that all rows take to 0."""
    _, values, transposed = np.linalg.svd(rows)
    rank = int(np.sum(values > TOLERANCE * max(values, default=0.0)))
    return transposed[rank:].T

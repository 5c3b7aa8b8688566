"""From the constraints between leaves to one matrix that scales them all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from swr_optax.planning.plan import Priority

TOLERANCE = 1e-9
"""Singular values up to this count as zero: sums of a few small fractions, in rows
whose largest entry is 1, are exact to far below it in float64."""

DENOMINATOR = 5040
"""All fractions with denominators up to ten are multiples of its inverse."""


def solve_exponents(
    rows: np.ndarray,
    weights: Sequence[int],
    priority: Priority,
    first: Sequence[bool] | None = None,
) -> np.ndarray:
    r"""The matrix E in ``s = E @ log_c``: every leaf's scaler from the weights'.

    With K the ``rows``, ``s`` the logarithms of the scalers of all leaves and
    ``log_c`` what is wanted for the weights among them:

    Each row counts once, whatever its length and sign: what is demanded twice, or
    of a square, is demanded once.

    - ``"norms"`` gives every weight exactly what is wanted and the other leaves
      the least-squares solution of :math:`K s = 0`, the smallest if there are
      many: :math:`E_W = I`, :math:`E_R = -K_R^+ K_W`.  The rows that are ``first``
      are met as well as can be before the others: a running statistic follows
      what it measures, and does not make up for weights that disagree.
    - ``"function"`` solves :math:`K s = 0` exactly and comes as near to what is
      wanted as that allows: :math:`E = N N_W^+` with the columns of N an
      orthonormal basis of the null space of K.

    Where both can be had at once the two are equal.

    Args:
        rows: K, of shape (constraints, leaves).
        weights: the leaves that are weights, in the order of ``log_c``.
        priority: which of the two promises is kept where they conflict.
        first: for each row whether it is met before the others; by default none.

    Returns:
        E, float64, of shape (leaves, weights).
    """
    columns = list(weights)
    leaves = rows.shape[1]
    before = np.zeros(len(rows), bool) if first is None else np.array(first, bool)
    if priority == "norms":
        rest = np.setdiff1d(np.arange(leaves), columns)
        exponents = np.zeros((leaves, len(columns)))
        exponents[columns] = np.eye(len(columns))
        free = np.eye(len(rest))  # Directions in which the rest may move.
        for part in (_distinct(rows[before]), _distinct(rows[~before])):
            if len(part) and free.size:
                moves = part[:, rest] @ free
                exponents[rest] -= free @ _pseudo_inverse(moves) @ part @ exponents
                if before.any():
                    free = free @ _null_space(moves)
    else:
        basis = _null_space(_distinct(rows))
        exponents = basis @ _pseudo_inverse(basis[columns])
    return without_noise(exponents)


def without_noise(exponents: np.ndarray) -> np.ndarray:
    """Exponents are small fractions: what a decomposition adds is taken off."""
    fractions = np.round(exponents * DENOMINATOR) / DENOMINATOR
    near = np.abs(exponents - fractions) < TOLERANCE
    return np.where(near, fractions, exponents) + 0.0  # And -0.0 becomes 0.0.


def _distinct(rows: np.ndarray) -> np.ndarray:
    """The rows scaled so that the largest entry is 1 and the first one positive."""
    rows = rows[rows.any(axis=1)]
    if not len(rows):
        return rows
    first = rows[np.arange(len(rows)), (rows != 0).argmax(axis=1)]
    scaled = rows / (np.sign(first) * np.abs(rows).max(axis=1))[:, None]
    return np.unique(without_noise(scaled), axis=0)


def _pseudo_inverse(matrix: np.ndarray) -> np.ndarray:
    """As :func:`numpy.linalg.pinv`, but what counts as zero is absolute.

    Relative to the largest, all that rounding leaves of zeros would be inverted.
    """
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    rank = int(np.sum(values > TOLERANCE))
    return (right[:rank].T / values[:rank]) @ left[:, :rank].T


def _null_space(rows: np.ndarray) -> np.ndarray:
    """Orthonormal basis, as columns, of the vectors that all rows take to 0."""
    _, values, transposed = np.linalg.svd(rows)
    rank = int(np.sum(values > TOLERANCE))
    return transposed[rank:].T

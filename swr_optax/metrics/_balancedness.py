"""How evenly a network's hidden units share their weights between in and out."""

from __future__ import annotations

from collections.abc import Sequence
import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Chain(NamedTuple):
    """A chain of dense layers.

    Attributes:
        weights: kernels of shape (fan_in, fan_out), in network order.
        biases: of shape (fan_out,), or None for a layer that has none.
    """

    weights: list[jax.Array]
    biases: list[jax.Array | None]


def balancedness(
    weights: Sequence[jax.Array],
    *,
    p: float = 2,
    q: float = 2,
    tolerance: float = 1e-5,
    rounds: int = 100,
) -> jax.Array:
    r"""Norm of the functionally smallest equivalent network over the present one.

    A network of ReLUs computes the same if a hidden unit's incoming weights are
    multiplied by a number and its outgoing ones divided by it.  Of all networks
    reached so, one has the smallest norm :math:`(\sum_j (\sum_k |w_{kj}|^p)^{q/p}
    )^{1/q}` over all units j and their incoming weights, with p = q = 2 the
    Frobenius norm of all weights.

    Example:
        >>> import jax.numpy as jnp, swr_optax
        >>> weights = [jnp.array([[3.0]]), jnp.array([[1 / 3]])]
        >>> print(f"{swr_optax.metrics.balancedness(weights):.4f}")
        0.4685
        >>> print(f"{(2 / (3**2 + 3**-2)) ** 0.5:.4f}")
        0.4685

    Args:
        weights: kernels of a chain of dense layers, of shape (fan_in, fan_out),
            in network order.  Biases do not enter the norm.
        p: exponent of the norm within a unit, at least 1.
        q: exponent of the norm across units, at least 1.
        tolerance: as in :func:`smallest_equivalent`.
        rounds: as in :func:`smallest_equivalent`.

    Returns:
        A scalar in (0, 1], float32 (float64 if a weight is): 1 for a balanced
        network, and for one that is all zeros.

    Raises:
        ValueError: if the weights are not those of a chain.

    References:
        Saul, `Weight-balancing fixes and flows for deep learning
        <https://openreview.net/forum?id=uaHyXxyp2r>`_, TMLR 2023, algorithm 1.
    """
    chain = _checked(weights)
    scalers = _balancing_scalers(chain, p, q, tolerance, rounds)
    present, smallest = _norm(chain, p, q), _norm(_rescaled(chain, scalers), p, q)
    ratio = smallest / jnp.where(present, present, 1)
    # Rounding could put the smallest a last digit above a balanced network.
    return jnp.where(present, jnp.minimum(ratio, 1), 1)


def smallest_equivalent(
    weights: Sequence[jax.Array],
    biases: Sequence[jax.Array | None] | None = None,
    *,
    p: float = 2,
    q: float = 2,
    tolerance: float = 1e-5,
    rounds: int = 100,
) -> Chain:
    r"""The smallest of the networks that rescaled hidden units make equivalent.

    In each round every hidden unit j has its incoming weights and its bias
    multiplied, and its outgoing weights divided, by

    .. math:: a_j = \Big(\frac{\sum_i \pi_{ij} \rho_i}{\rho_j}\Big)^{1 / (4
        \max(p, q))}, \qquad \rho_j = \Big(\sum_k |w_{kj}|^p\Big)^{q/p}, \qquad
        \pi_{ij} = \frac{|w_{ji}|^p}{\sum_k |w_{ki}|^p},

    all at once, i being units of the next layer.

    Example:
        >>> import jax.numpy as jnp, swr_optax
        >>> weights = [jnp.array([[8.0]]), jnp.array([[2.0]])]
        >>> biases = [jnp.array([1.0]), jnp.array([5.0])]
        >>> chain = swr_optax.metrics.smallest_equivalent(weights, biases)
        >>> print(*(f"{w[0, 0]:.3f}" for w in chain.weights))
        4.000 4.000
        >>> print(*(f"{b[0]:.3f}" for b in chain.biases))
        0.500 5.000

    Args:
        weights: kernels of a chain of dense layers with positively homogeneous
            activations between them, of shape (fan_in, fan_out).
        biases: of shape (fan_out,), one for each layer or None for a layer
            without; by default no layer has one.
        p: exponent of the norm within a unit, at least 1.
        q: exponent of the norm across units, at least 1.
        tolerance: rounds end when no :math:`a_j` differs from 1 by this much.
        rounds: and at the latest after so many.

    Returns:
        The rescaled chain.  A unit that has only zeros coming in or going out is
        left alone: no scaling of it is the best.

    Raises:
        ValueError: if the weights are not those of a chain, or the biases not as
            many as they.

    References:
        As for :func:`balancedness`.
    """
    chain = _checked(weights)
    given = [None] * len(chain) if biases is None else biases
    scalers = _balancing_scalers(chain, p, q, tolerance, rounds)
    return Chain(
        weights=[
            new.astype(old.dtype)
            for new, old in zip(_rescaled(chain, scalers), weights, strict=True)
        ],
        biases=[
            None if bias is None else (bias * scaler).astype(bias.dtype)
            for bias, scaler in zip(given, scalers, strict=True)
        ],
    )


def _checked(weights: Sequence[jax.Array]) -> list[jax.Array]:
    """The weights in one dtype wide enough for sums of squares."""
    shapes = [jnp.shape(weight) for weight in weights]
    if (
        not shapes
        or any(len(shape) != 2 for shape in shapes)
        or any(a[1] != b[0] for a, b in itertools.pairwise(shapes))
    ):
        raise ValueError(
            f"weights have shapes {shapes}, which are not (fan_in, fan_out) of dense"
            " layers that follow each other: give the kernels in network order"
        )
    dtype = functools.reduce(jnp.promote_types, (w.dtype for w in weights), jnp.float32)
    return [weight.astype(dtype) for weight in weights]


@functools.partial(jax.jit, static_argnames=("p", "q"))
def _balancing_scalers(
    weights: Sequence[jax.Array], p: float, q: float, tolerance: float, rounds: int
) -> list[jax.Array]:
    """What to multiply each unit's incoming weights by; one vector a layer."""

    def unfinished(state: tuple[jax.Array, jax.Array, list[jax.Array]]) -> jax.Array:
        done, change, _ = state
        return (change >= tolerance) & (done < rounds)

    def one_round(
        state: tuple[jax.Array, jax.Array, list[jax.Array]],
    ) -> tuple[jax.Array, jax.Array, list[jax.Array]]:
        done, _, scalers = state
        factors = _factors(_rescaled(weights, scalers), p, q)
        change = jnp.abs(jnp.concatenate(factors) - 1).max()
        scalers = [a * b for a, b in zip(scalers, factors, strict=True)]
        return done + 1, change, scalers

    ones = [jnp.ones(weight.shape[1], weight.dtype) for weight in weights]
    start = (jnp.zeros([], int), jnp.full([], jnp.inf, weights[0].dtype), ones)
    _, _, scalers = jax.lax.while_loop(unfinished, one_round, start)
    return scalers


def _factors(weights: Sequence[jax.Array], p: float, q: float) -> list[jax.Array]:
    """One round's a of every unit; the network's outputs have 1."""
    powers = [jnp.abs(weight) ** p for weight in weights]
    sums = [power.sum(axis=0) for power in powers]
    norms = [total ** (q / p) for total in sums]
    factors = []
    for norm, next_norm, next_power, next_sum in zip(
        norms, norms[1:], powers[1:], sums[1:], strict=False
    ):
        shares = next_power / jnp.where(next_sum, next_sum, 1)
        outgoing = (shares * next_norm).sum(axis=1)
        scalable = (norm > 0) & (outgoing > 0)
        ratio = jnp.where(scalable, outgoing / jnp.where(scalable, norm, 1), 1)
        factors.append(ratio ** (1 / (4 * max(p, q))))
    return [*factors, jnp.ones_like(sums[-1])]


def _rescaled(
    weights: Sequence[jax.Array], scalers: Sequence[jax.Array]
) -> list[jax.Array]:
    """Incoming weights times, outgoing ones over each unit's scaler."""
    inputs = jnp.ones(weights[0].shape[0], weights[0].dtype)
    return [
        weight / before[:, None] * after
        for weight, before, after in zip(
            weights, [inputs, *scalers], scalers, strict=False
        )
    ]


def _norm(weights: Sequence[jax.Array], p: float, q: float) -> jax.Array:
    powers = [(jnp.abs(weight) ** p).sum(axis=0) ** (q / p) for weight in weights]
    return jnp.concatenate(powers).sum() ** (1 / q)

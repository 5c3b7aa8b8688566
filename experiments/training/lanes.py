"""Runs that go together, along a leading axis of the state.

On an accelerator all seeds and coefficients of a method share one lane; on a CPU,
where that does not pay, each has its own, so that a seed's numbers are the same
alone or in company.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Member(NamedTuple):
    """One run of a lane; or, as arrays with a leading axis, all of a lane's.

    Attributes:
        seed: from 0.
        coefficient: its method's λ, or one for each group; zero if it has none.
        learning_rate: the optimiser's, at the start.
    """

    seed: Any
    coefficient: Any
    learning_rate: Any


def lanes(members: Sequence[Member]) -> list[tuple[Member, ...]]:
    """The runs that go together on this machine."""
    if jax.default_backend() == "cpu":
        return [(member,) for member in members]
    return [tuple(members)]


def stacked(members: Sequence[Member]) -> Member:
    """A lane's members as arrays: seeds uint32, the others float32."""
    coefficients = [
        dict(member.coefficient)
        if isinstance(member.coefficient, Mapping)
        else member.coefficient
        for member in members
    ]
    return Member(
        jnp.asarray([member.seed for member in members], jnp.uint32),
        jax.tree.map(lambda *values: jnp.asarray(values, jnp.float32), *coefficients),
        jnp.asarray([member.learning_rate for member in members], jnp.float32),
    )


def shuffled(
    images: np.ndarray, batch_size: int, steps: int, entropy: Sequence[int]
) -> np.ndarray:
    """A random order of some images, in batches.

    Args:
        images: indices of the images.
        batch_size: images in a batch; the last may have fewer.
        steps: number of batches of the result, at least as many as needed.
        entropy: numbers that determine the order.

    Returns:
        Indices, int32, (steps, batch_size); -1 where there is no image.
    """
    order = np.full(steps * batch_size, -1, np.int32)
    order[: len(images)] = np.random.default_rng(entropy).permutation(images)
    return order.reshape(steps, batch_size)

"""Runs that go together, along a leading axis of the state.

On accelerators the seeds and coefficients of a method share one lane for each local
device; on a CPU, where that does not pay, each has its own, so that a seed's numbers
are the same alone or in company.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import itertools
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


class Job(NamedTuple):
    """Some members of one method.

    Attributes:
        method: name in :data:`experiments.methods.METHODS`.
        members: of it.
    """

    method: str
    members: tuple[Member, ...]


def lanes(members: Sequence[Member]) -> list[tuple[Member, ...]]:
    """The runs that go together on this machine."""
    return layout(members, jax.default_backend(), jax.local_device_count())


def layout(
    members: Sequence[Member], backend: str, devices: int
) -> list[tuple[Member, ...]]:
    """The runs that go together.

    Args:
        members: all of them.
        backend: kind of the devices; each member is alone on a ``"cpu"``.
        devices: how many there are; elsewhere the members are split among them, as
            evenly as can be.
    """
    most = len(members) if backend == "cpu" else devices
    count = min(most, len(members))
    ends = [len(members) * i // count for i in range(count + 1)]
    return [tuple(members[start:end]) for start, end in itertools.pairwise(ends)]


def stacked(members: Sequence[Member], device: jax.Device | None = None) -> Member:
    """A lane's members as arrays: seeds uint32, the others float32.

    Args:
        members: of the lane.
        device: where they are to stay, and all that is computed with them; None if
            that does not matter.
    """
    coefficients = [
        dict(member.coefficient)
        if isinstance(member.coefficient, Mapping)
        else member.coefficient
        for member in members
    ]
    arrays = Member(
        jnp.asarray([member.seed for member in members], jnp.uint32),
        jax.tree.map(lambda *values: jnp.asarray(values, jnp.float32), *coefficients),
        jnp.asarray([member.learning_rate for member in members], jnp.float32),
    )
    return jax.device_put(arrays, device)


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

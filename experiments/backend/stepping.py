"""Whether a run's steps go into one program."""

from __future__ import annotations

import jax


def steps_in_a_loop(convolutional: bool) -> bool:
    """Whether a loop inside of a program takes a network's steps.

    It saves the start of a program at each step, which for a small dense network on a
    CPU is a third of its time.  XLA's convolutions on a CPU though are ten times slower
    inside a loop: 895 ms instead of 92 a step of the CNN.

    Args:
        convolutional: whether the network convolves.
    """
    return jax.default_backend() != "cpu" or not convolutional

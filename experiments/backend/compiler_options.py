"""What XLA is told when it compiles for a CPU."""

from __future__ import annotations

import functools

import jax


@functools.cache
def compiler_options() -> dict[str, str]:
    """Options of :func:`jax.jit` that leave products and convolutions to Eigen.

    XLA hands both to another library where it can, which takes a tenth longer for the
    MLP's products and twice as long for convolutions of blocks of pixels. The option
    is an experimental one: where XLA no longer knows it, there are none.
    """
    options = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}
    return options if jax.default_backend() == "cpu" and knows(options) else {}


def knows(options: dict[str, str]) -> bool:
    """Whether XLA compiles with some options."""
    try:
        jax.jit(lambda: 0, compiler_options=options)()
    except jax.errors.JaxRuntimeError:
        return False
    return True

"""XLA is asked before it is told."""

import jax

from experiments.backend.compiler_options import compiler_options, knows


def test_xla_is_not_told_what_it_does_not_know():
    assert not knows({"xla_cpu_no_such_option": "1"})
    assert knows(compiler_options())
    assert bool(compiler_options()) == (jax.default_backend() == "cpu")

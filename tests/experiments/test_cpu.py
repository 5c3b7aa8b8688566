"""Scratch memory stays with the process, and XLA is asked before it is told."""

import subprocess
import sys

import jax
import pytest

from experiments.cpu import compiler_options, knows

FAULTS = """
import resource, sys
import jax, jax.numpy as jnp
from experiments.cpu import keep_freed_memory

if "keep" in sys.argv:
    keep_freed_memory()

@jax.jit
def step(x):  # A sort's result is written out: 40 MB of scratch memory.
    return jnp.sort(jnp.outer(x, x), axis=0).sum()

x = jnp.arange(3200.0)
for _ in range(3):
    step(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step(x).block_until_ready()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 4)
"""


def faults_of_a_call(*arguments):
    command = [sys.executable, "-c", FAULTS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone gives memory back so")
def test_a_program_finds_its_scratch_memory_again():
    if faults_of_a_call() < 5000:  # Of 40 MB in pages of 4 KiB.
        pytest.skip("the system has large pages, or keeps the memory anyway")
    assert faults_of_a_call("keep") < 500


def test_xla_is_not_told_what_it_does_not_know():
    assert not knows({"xla_cpu_no_such_option": "1"})
    assert knows(compiler_options())
    assert bool(compiler_options()) == (jax.default_backend() == "cpu")

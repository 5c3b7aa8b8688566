"""Scratch memory stays with the process."""

import os
import subprocess
import sys

import pytest

from experiments.backend.freed_memory import KEEPING

FAULTS = """
import resource, sys
from experiments.backend.freed_memory import keep_freed_memory

if "keep" in sys.argv:
    keep_freed_memory()

import jax, jax.numpy as jnp

@jax.jit
def step(x):  # What a product takes is written out: 40 MB of scratch memory.
    return (jnp.sin(jnp.outer(x, x)) @ x).sum()

x = jnp.arange(3200.0)
found = []
while len(found) < 20 and min(found, default=5000) >= 5000:
    # It takes some calls until every block has its place.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step(x).block_until_ready()
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(found))
"""


def faults_of_a_call(*arguments, **variables):
    command = [sys.executable, "-c", FAULTS, *arguments]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone gives memory back so")
def test_a_program_finds_its_scratch_memory_again():
    freely = faults_of_a_call()
    if freely < 5000:  # Of 40 MB in pages of 4 KiB.
        pytest.skip("the system has large pages, or keeps the memory anyway")
    assert faults_of_a_call("keep") < freely / 2
    # And in a process that is started so.
    assert faults_of_a_call(**KEEPING) < freely / 2

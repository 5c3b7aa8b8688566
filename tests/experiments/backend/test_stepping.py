"""Only a CPU's convolutions step outside of a loop."""

import jax
import pytest

from experiments.backend.stepping import steps_in_a_loop


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize("convolutional", [False, True])
def test_steps_go_into_one_program_unless_a_cpu_convolves(
    backend, convolutional, monkeypatch
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert steps_in_a_loop(convolutional) == (backend != "cpu" or not convolutional)

"""The optimiser's step is that of Optax, and each way is compared with Adam's."""

import jax
import numpy as np
import optax
import pytest

from experiments.benchmark import optimizers
from experiments.benchmark.optimizers import (
    ADAM,
    FEW_LAYERS,
    MORE_LAYERS,
    SWR,
    WAYS,
    Size,
    chain,
    measure,
)

SMALL = Size(2, 220)


def test_each_way_is_a_row():
    rows = measure(SMALL, rounds=1, torch=False)
    assert [row.way for row in rows] == list(WAYS)
    assert {(row.layers, row.leaves, row.parameters) for row in rows} == {(2, 4, 220)}
    assert all(row.seconds > 0 and row.compile_seconds > 0 for row in rows)
    assert (rows[0].way, rows[0].ratio, rows[0].compile_ratio) == (ADAM, 1, 1)
    memory = {row.way: row.memory_ratio for row in rows}
    # Parameters, two moments, gradients; and once more the initial parameters.
    assert memory["L2 Init + Adam"] == pytest.approx(5 / 4, rel=0.02)
    assert memory["AdamW"] == pytest.approx(1, rel=0.02)


def test_of_very_many_layers_only_swr_is_compiled(monkeypatch):
    monkeypatch.setattr(optimizers, "MANY_LAYERS", 1)
    assert [row.way for row in measure(SMALL, rounds=1, torch=False)] == [ADAM, SWR]


@pytest.mark.parametrize("size", [*FEW_LAYERS[:2], *MORE_LAYERS])
def test_sizes_are_as_they_say(size):
    parameters = size.layers * size.width * (size.width + 1)
    assert parameters == pytest.approx(size.parameters, rel=0.1)


def test_steps_go_on_from_each_other():
    params, grads = chain(SMALL, 0), chain(SMALL, 1)
    optimizer = optax.adam(1e-3)
    taken = []

    def program(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        taken.append(optax.apply_updates(params, updates))
        return taken[-1], state

    optimizers._steps(program, optimizer, params, grads, 3)()
    state, expected = optimizer.init(params), params
    for _ in range(3):
        updates, state = optimizer.update(grads, state, expected)
        expected = optax.apply_updates(expected, updates)
    assert len(taken) == 3
    jax.tree.map(np.testing.assert_array_equal, taken[-1], expected)

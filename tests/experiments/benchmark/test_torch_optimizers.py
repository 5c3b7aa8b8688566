"""What PyTorch's users would write does what ours does."""

import numpy as np
import optax
import pytest

from experiments.benchmark.optimizers import Size, chain
from experiments.benchmark.torch_optimizers import (
    _arrays,
    clipping_after,
    swr_after,
    torch_optimizers,
)
import swr_optax

torch = pytest.importorskip("torch")

PARAMS, CHANGES = (chain(Size(3, 100), seed) for seed in range(2))
PLAN = swr_optax.sequential_plan(PARAMS, [(f"{x}/kernel", f"{x}/bias") for x in PARAMS])


@pytest.mark.parametrize(
    ("after", "ours"),
    [
        (
            lambda arrays: swr_after(0.1, arrays),
            swr_optax.soft_weight_rescaling(0.1, PLAN),
        ),
        (clipping_after, swr_optax.weight_clipping(PLAN)),
    ],
)
def test_it_does_the_same_after_a_step(after, ours):
    arrays = _arrays(torch, PARAMS)
    finish = after(arrays)
    for array, change in zip(arrays, _arrays(torch, CHANGES), strict=True):
        array += change
    finish()
    updates, _ = ours.update(CHANGES, ours.init(PARAMS), PARAMS)
    expected = _arrays(torch, optax.apply_updates(PARAMS, updates))
    for array, same in zip(arrays, expected, strict=True):
        np.testing.assert_allclose(array, same, rtol=1e-5, atol=1e-6)


def test_steps_run():
    for way in torch_optimizers(PARAMS, CHANGES, 1e-3, 1e-3).values():
        way(2)()

"""Training steps are those that the experiments take."""

import sys

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmark.training_steps import CASES, Case, measure
from experiments.errors import UserError
from experiments.models import MODELS

MLP = Case("mlp", MODELS["mlp"].build, "digits", 8, 2)


def test_each_way_is_a_row():
    rows = measure(MLP, rounds=2, torch=False)
    assert [row.way for row in rows] == ["Adam", "Adam + SWR"]
    parameters = 64 * 100 + 100 * 100 + 100 * 10 + 210
    for row in rows:
        assert (row.layers, row.leaves, row.parameters) == (3, 6, parameters)
        assert row.seconds > 0
    assert rows[0].ratio == 1


def test_the_transformer_has_ten_million_parameters():
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    init = CASES[-1].build(10).init
    params = jax.eval_shape(init, jax.random.key(0), images)
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    assert sum(sizes) == pytest.approx(1e7, rel=0.1)


def test_without_pytorch_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="--torch needs PyTorch: pip install torch"):
        measure(MLP, rounds=1, torch=True)

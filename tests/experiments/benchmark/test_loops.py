"""Whole runs are those that the experiments make."""

import dataclasses
import sys

import pytest

from experiments.benchmark.loops import CASES, Case, _run, measure
from experiments.benchmark.torch_loops import torch_stages, torch_stream
from experiments.benchmark.training_steps import random_images
from experiments.errors import UserError
from experiments.protocols.config import Config

STAGES = Case(
    "stages",
    Config(
        *("single-task", "digits", "mlp"),
        methods=("vanilla",),
        seeds=2,
        epochs=2,
        train_images=32,
    ),
    test_images=16,
    torch=torch_stages,
)
STREAM = Case(
    "stream",
    Config(
        *("random-labels", "digits", "mlp"),
        methods=("vanilla",),
        seeds=2,
        epochs=2,
        train_images=32,
        tasks=2,
        batch_size=16,
    ),
    test_images=1,
    torch=torch_stream,
)


@pytest.mark.parametrize("case", [STAGES, STREAM], ids=str)
def test_each_way_is_a_row(case):
    rows = measure(case, rounds=1, torch=False)
    assert [row.way for row in rows] == ["Adam", "Adam + SWR"]
    for row in rows:
        assert (row.piece, row.layers, row.leaves) == ("loop", 3, 6)
        assert row.seconds > 0
    assert rows[0].ratio == 1


def test_a_second_run_starts_anew(monkeypatch):
    """It neither goes on from the first one's checkpoint nor compiles again."""
    from experiments.protocols import stage_loop

    trained = []
    run = stage_loop.Training.run

    def counted(self, state, members, data, order):
        trained.append(self)
        return run(self, state, members, data, order)

    monkeypatch.setattr(stage_loop.Training, "run", counted)
    whole = _run(STAGES.config, random_images("digits", 32), "vanilla")
    whole()
    once = len(trained)
    assert once == 2 * 2  # Seeds and epochs.
    whole()
    assert len(trained) == 2 * once
    assert len(set(map(id, trained))) == 1


@pytest.mark.parametrize("case", [STAGES, STREAM], ids=str)
def test_pytorchs_run_takes_as_many_steps(case, monkeypatch):
    torch = pytest.importorskip("torch")
    steps = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self: (steps.append(1), step(self))
    )
    config = case.config
    case.torch(config, random_images("digits", 32))()
    batches = -(-32 // config.batch_size)
    assert len(steps) == config.seeds * config.epochs * batches * (config.tasks or 1)


def test_cases_are_configurations_that_pytorch_has_networks_for():
    from experiments.benchmark.torch_training_steps import NETWORKS

    for case in CASES:
        assert case.config.model in NETWORKS
        assert dataclasses.replace(case.config, methods=("swr",)).members("swr")


def test_without_pytorch_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="--torch needs PyTorch: pip install torch"):
        measure(STREAM, rounds=1, torch=True)

"""The command measures all pieces, or one."""

import pandas as pd
import pytest

from experiments.benchmark import loops, optimizers, training_steps
from experiments.benchmark.optimizers import Size
from experiments.benchmark.torch_loops import torch_stages
from experiments.benchmark.training_steps import Case
from experiments.commands.benchmark import run
from experiments.errors import UserError
from experiments.models import MODELS
from experiments.protocols.config import Config


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(optimizers, "FEW_LAYERS", (Size(2, 220), Size(2, 10**6)))
    monkeypatch.setattr(optimizers, "MORE_LAYERS", ())
    case = Case("mlp", MODELS["mlp"].build, "digits", 8, 1, small=True)
    monkeypatch.setattr(training_steps, "CASES", (case,))
    config = Config(
        "single-task",
        "digits",
        "mlp",
        methods=("vanilla",),
        seeds=1,
        epochs=1,
        train_images=8,
        batch_size=8,
    )
    loop = loops.Case("single task", config, 8, torch_stages)
    monkeypatch.setattr(loops, "CASES", (loop,))


@pytest.mark.usefixtures("small")
def test_all_is_measured_printed_and_written(tmp_path, capsys):
    run(rounds=1, torch=False, largest=1e3, only=None, out=tmp_path)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "optimiser's step: 2 layers, 2e2 parameters …",
        "training step: mlp, digits's shape, batch 8 …",
        "whole run: single task, 1 seeds …",
    ]
    for title in ("the optimiser's step alone", "compilation and", "training steps"):
        assert title in printed.out
    assert "whole runs" in printed.out
    frame = pd.read_csv(tmp_path / "benchmark.csv")
    assert set(frame["piece"]) == {"optimizer", "training", "loop"}
    assert (tmp_path / "benchmark.png").exists()


@pytest.mark.usefixtures("small")
def test_one_piece_may_be_measured_alone(tmp_path, capsys):
    run(rounds=1, torch=False, largest=1e3, only="training", out=tmp_path)
    assert "optimiser" not in "".join(capsys.readouterr())
    assert [path.name for path in tmp_path.iterdir()] == ["benchmark.csv"]


@pytest.mark.usefixtures("small")
def test_a_largest_below_all_is_refused(tmp_path):
    with pytest.raises(UserError, match="--largest must be at least 220, not 10"):
        run(rounds=1, torch=False, largest=10, only=None, out=tmp_path)

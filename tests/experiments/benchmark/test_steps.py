"""The benchmark times what the experiments do, in turn."""

import sys

import pytest

from experiments.benchmark import steps as benchmark
from experiments.benchmark.steps import run, time_in_turn
from experiments.errors import UserError


def test_ways_take_turns_after_one_go_each_that_does_not_count():
    order = []
    ways = {name: lambda name=name: order.append(name) for name in "abc"}
    times = time_in_turn(ways, 4)
    assert "".join(order) == "abc" * 5
    assert times.shape == (4, 3)
    assert (times > 0).all()


def test_it_reports_each_network_without_and_with_swr(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "CASES", {"mlp": ("digits", 2), "cnn": ("mnist", 1)})
    monkeypatch.setattr(benchmark, "BATCH", 8)
    run(2, torch=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines if "medians" in line] == ["mlp", "cnn"]
    assert len([line for line in lines if line.startswith("  Adam + SWR ")]) == 2
    assert "PyTorch" not in "".join(lines)


def test_without_pytorch_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="--torch needs PyTorch: pip install torch"):
        run(1, torch=True)
    assert not capsys.readouterr().out

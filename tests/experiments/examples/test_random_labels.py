"""The file that a researcher copies."""

import ast
from pathlib import Path
import runpy
import sys

import numpy as np
import pytest

import experiments

FILE = Path(experiments.__file__).parent / "examples" / "random_labels.py"


def test_it_stands_alone():
    imported = set()
    for node in ast.walk(ast.parse(FILE.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module.split(".")[0])
    others = {"jax", "numpy", "optax", "sklearn", "swr_optax"}
    assert imported - set(sys.stdlib_module_names) == others


def test_it_prints_a_line_for_each_method(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(FILE), "--tasks", "1"])
    runpy.run_path(str(FILE), run_name="__main__")
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("online accuracy  first fifth  last fifth  kept learning")
    assert [line[:13].strip() for line in lines] == [
        "fresh network",
        "Adam",
        "Adam + SWR",
    ]
    for line in lines:  # The only task is both the first and the last fifth.
        first, last, kept, _ = line[15:].split()
        assert first == last
        assert kept == "yes"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(FILE))


def test_adam_loses_plasticity_and_with_swr_it_does_not(example):
    accuracies = {name: example["run"](name, 12) for name in example["METHODS"]}
    first = {name: found[:2].mean() for name, found in accuracies.items()}
    last = {name: found[-2:].mean() for name, found in accuracies.items()}
    assert last["Adam"] < 0.6 * first["Adam"]
    assert last["Adam + SWR"] > 0.9 * first["Adam + SWR"]
    assert last["fresh network"] == pytest.approx(first["fresh network"], rel=0.15)
    # All start from one network and meet the same tasks.
    assert accuracies["Adam"][0] == accuracies["fresh network"][0]


def test_networks_start_as_pytorch_s_do(example):
    params = example["init"](example["jax"].random.key(0))
    assert [layer["w"].shape for layer in params] == [(64, 100), (100, 100), (100, 10)]
    for layer in params:
        limit = layer["w"].shape[0] ** -0.5
        for leaf in layer.values():
            assert 0.8 * limit < np.abs(leaf).max() <= limit
            assert np.asarray(leaf).std() == pytest.approx(limit / 3**0.5, rel=0.4)


def test_features_are_held_firmly_and_the_classifier_loosely(example):
    groups = [layer.group for layer in example["plan"].layers]
    assert groups == ["feature", "feature", "classifier"]
    assert not example["plan"].unmet

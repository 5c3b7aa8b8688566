"""Coefficients against the paper's table, copied here as text."""

import pytest

from experiments.methods import METHODS
from experiments.methods.coefficients import (
    PAPER,
    STREAM_COEFFICIENTS,
    published_coefficient,
)
from experiments.protocols.config import Config

BEST = """
mnist mlp                | .4 1e-5 1e-5 1e-4      | .6 1e-4 1e-4 1e-4      | .2 1e-5 1e-5 1e-4      | 1e-5 1e-5 1e-4
cifar10 cnn              | .8 1e-2 1e-2 1e-3      | .8 1e-2 1e-2 1e-3      | .4 1e-2 1e-2 1e-1      | 1e-2 1e-2 1e-3
cifar100 cnn             | .8 1e-2 1e-2 1e-3      | .8 1e-2 1e-2 1e-3      | .6 1e-2 1e-2 1e-1      | 1e-2 1e-2 1e-3
cifar100 cnn_bn          | .8 1e-2 1e-2 1e-4 1    | .8 1e-2 1e-2 1e-4 1e-1 | .4 1e-2 1e-2 1e-1 1e-2 | 1e-2 1e-2 1e-4 1e-1
tiny_imagenet vgg16      | .8 1e-5 1e-5 1e-2 1e-1 | .8 1e-4 1e-4 1e-2 1e-2 | .4 1e-4 1e-3 1e-4 1    | 1e-5 1e-5 1e-2 1e-1
"""  # noqa: E501
"""S&P, L2, L2 Init, SWR's one λ or λ_f and λ_c; for each protocol."""

COLUMNS = ("warm-start", "continual-full", "continual-limited", "single-task")


def published():
    """(data set, model, protocol, method, coefficient) of every entry."""
    for line in BEST.strip().splitlines():
        cell, *columns = line.split("|")
        dataset, model = cell.split()
        for protocol, column in zip(COLUMNS, columns, strict=True):
            values = [float(text) for text in column.split()]
            names = ["l2", "l2_init"]
            if protocol != "single-task":
                names.insert(0, "shrink_and_perturb")
            plain, swr = values[: len(names)], values[len(names) :]
            found = dict(zip(names, plain, strict=True))
            for penalty in ("l2", "l2_init"):  # Of which the paper takes no half.
                found[penalty] *= 2
            if len(swr) == 1:
                found["swr"] = swr[0]
            else:
                feature, classifier = swr
                found["swr_two"] = {"feature": feature, "classifier": classifier}
            for method, value in found.items():
                yield dataset, model, protocol, method, value


@pytest.mark.parametrize(
    ("dataset", "model", "protocol", "method", "value"), list(published())
)
def test_the_paper_s(dataset, model, protocol, method, value):
    choice = published_coefficient(method, protocol, dataset, model)
    assert choice == (value, True)


def test_nothing_but_the_paper_s_is_called_so():
    entries = {
        (dataset, model, protocol, method)
        for (dataset, model), protocols in PAPER.items()
        for protocol, methods in protocols.items()
        for method in methods
    }
    assert entries == {entry[:4] for entry in published()}


@pytest.mark.parametrize("method", ["swr_reinit", "swr_follow"])
def test_variants_of_swr_take_its_coefficients(method):
    one = published_coefficient(method, "single-task-decay", "cifar10", "cnn")
    # Its table has a column for the plain single task only.
    assert one == (1e-3, False)
    two = published_coefficient(method, "single-task-decay", "cifar100", "cnn_bn")
    assert two == ({"feature": 1e-4, "classifier": 1e-1}, False)


def test_digits_are_as_mnist_and_not_the_paper_s():
    for protocol in COLUMNS:
        mnist = published_coefficient("swr", protocol, "mnist", "mlp")
        digits = published_coefficient("swr", protocol, "digits", "mlp")
        assert digits.value == mnist.value
        assert mnist.published
        assert not digits.published


@pytest.mark.parametrize("method", ["l2", "shrink_and_perturb", "swr", "swr_two"])
def test_elsewhere_a_default_is_no_published_one(method):
    assert published_coefficient(method, "warm-start", "cifar10", "resnet18") is None
    config = Config(dataset="cifar10", model="resnet18", methods=(method,))
    assert config.coefficient(method) == METHODS[method].default
    assert config.unpublished() == [method]


@pytest.mark.parametrize("method", ["vanilla", "full_reset", "hard_projection"])
def test_some_have_none(method):
    assert published_coefficient(method, "warm-start", "mnist", "mlp") is None
    assert Config(methods=(method,)).coefficient(method) is None


def test_streams_have_what_their_sweep_found():
    for method, value in STREAM_COEFFICIENTS.items():
        config = Config("random-labels", methods=(method,), tasks=2, decay=True)
        assert config.coefficient(method) == value
    config = Config("random-labels", methods=("upgd",), tasks=2)
    assert config.coefficient("upgd") == METHODS["upgd"].default
    assert config.rate("upgd") == 0.01
    named = Config("random-labels", methods=("upgd", "swr_kept", "l2"), tasks=2)
    assert named.unpublished() == ["upgd"]

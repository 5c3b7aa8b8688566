"""The paper's tables, by spot checks of every row and column."""

import pytest

from experiments.protocols.stages import PROTOCOLS
from experiments.reporting.published import PUBLISHED, published_as


@pytest.mark.parametrize(
    ("protocol", "dataset", "model", "method", "mean", "deviation"),
    [
        ("single-task", "mnist", "mlp", "vanilla", 0.9789, 0.0009),
        ("single-task", "cifar10", "cnn", "l2", 0.7119, 0.0037),
        ("single-task", "cifar100", "cnn", "l2_init", 0.3881, 0.0050),
        ("single-task", "cifar100", "cnn_bn", "swr", 0.4129, 0.0105),
        ("single-task", "tiny_imagenet", "vgg16", "swr", 0.4348, 0.0025),
        ("single-task-decay", "mnist", "mlp", "swr_reinit", 0.9829, 0.0002),
        ("single-task-decay", "cifar10", "cnn", "swr", 0.6925, 0.0078),
        ("single-task-decay", "cifar100", "cnn", "l2", 0.3949, 0.0091),
        ("single-task-decay", "cifar100", "cnn_bn", "l2_init", 0.4341, 0.0019),
        ("single-task-decay", "tiny_imagenet", "vgg16", "vanilla", 0.4126, 0.0236),
    ],
)
def test_spot_checks(protocol, dataset, model, method, mean, deviation):
    found = PUBLISHED[protocol, dataset, model, method]
    assert found.mean == pytest.approx(mean)
    assert found.deviation == pytest.approx(deviation)
    assert found.source == ("table 1" if protocol == "single-task" else "table 5")


def test_the_tables_are_whole():
    # Five networks, with four methods in table 1 and five in table 5.
    assert len(PUBLISHED) == 5 * 4 + 5 * 5
    assert {protocol for protocol, *_ in PUBLISHED} <= set(PROTOCOLS)


def test_two_coefficients_are_the_papers_swr_where_there_are_groups():
    assert published_as("vgg16", "swr_two") == "swr"
    assert published_as("mlp", "swr_two") == "swr_two"
    assert published_as("vgg16", "swr_follow") == "swr_follow"

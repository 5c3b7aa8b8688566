"""Configurations: checked at once, and enough to repeat a run."""

import dataclasses
import json

import jax
import pytest

from experiments.config import Config
from experiments.datasets import SOURCES
from experiments.errors import UserError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": "mnits"}, "unknown data set 'mnits': choose from digits, mnist"),
        ({"model": "rnn"}, "unknown model 'rnn': choose from mlp, cnn, cnn_bn, "),
        ({"model": "cnn"}, "model 'cnn' does not fit 'digits': pooling leaves nothing"),
        (
            {"dataset": "cifar10", "model": "cnn", "methods": ("vanilla", "l2")},
            "method 'l2' has no coefficient for 'cifar10'",
        ),
        ({"methods": ("swr", "sgd")}, "unknown method 'sgd': choose from scratch, "),
        ({"methods": ("swr", "swr")}, "method 'swr' is named twice"),
        ({"methods": ()}, "no methods: name at least one"),
        ({"seeds": 0}, "seeds must be at least 1, not 0"),
        ({"epochs": -1}, "epochs must be at least 1, not -1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, not 0.0"),
    ],
)
def test_mistakes_are_named(fields, message):
    with pytest.raises(UserError) as error:
        Config(**fields)
    assert str(error.value).startswith(message)


def test_images_that_do_not_divide_into_patches_are_named(monkeypatch):
    source = dataclasses.replace(SOURCES["digits"], shape=(10, 8, 1))
    monkeypatch.setitem(SOURCES, "digits", source)
    with pytest.raises(UserError) as error:
        Config(model="vit")
    assert str(error.value) == (
        "model 'vit' does not fit 'digits': 10×8 images do not divide into squares of"
        " 4×4"
    )


def test_json_has_what_a_repetition_needs():
    described = json.loads(Config(methods=("l2", "swr", "vanilla")).to_json())
    assert described["seeds"] == 5
    assert described["coefficients"] == {"l2": 1e-5, "swr": 1e-4}
    assert described["versions"]["jax"] == jax.__version__
    assert described["device"]["platform"] == jax.default_backend()

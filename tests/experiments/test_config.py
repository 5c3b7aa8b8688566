"""Configurations: checked at once, and enough to repeat a run."""

import json

import jax
import pytest

from experiments.config import Config
from experiments.errors import UserError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": "mnits"}, "unknown data set 'mnits': choose from digits, mnist"),
        ({"model": "rnn"}, "unknown model 'rnn': choose from mlp, cnn, cnn_bn"),
        ({"model": "cnn"}, "model 'cnn' does not fit 'digits': pooling leaves nothing"),
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


def test_json_has_what_a_repetition_needs():
    described = json.loads(Config(methods=("l2", "swr", "vanilla")).to_json())
    assert described["seeds"] == 5
    assert described["coefficients"] == {"l2": 1e-5, "swr": 1e-4}
    assert described["versions"]["jax"] == jax.__version__
    assert described["device"]["platform"] == jax.default_backend()

"""What determines a run of agents."""

import dataclasses
from importlib import metadata
import json

import pytest

from experiments.agents.config import AgentConfig
from experiments.agents.settings import AGENT_COEFFICIENTS, LENGTHS, METHODS_COMPARED
from experiments.commands.stages import name_defaults
from experiments.errors import UserError
from experiments.methods import METHODS


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": "pong"}, "unknown environment 'pong'"),
        ({"model": "mlp"}, "unknown model 'mlp'"),
        ({"model": "actor_critic_images"}, "does not fit 'cartpole': choose from"),
        ({"dataset": "minatar"}, "does not fit 'minatar': choose from actor_critic_im"),
        ({"iterations": 15}, "iterations must be a multiple of 10, not 15"),
        ({"iterations": 0}, "iterations must be at least 1, not 0"),
        ({"tasks": 0}, "levels must be at least 1, not 0"),
        ({"seeds": 0}, "seeds must be at least 1, not 0"),
        ({"methods": ("swr", "swr")}, "method 'swr' is named twice"),
        ({"methods": ("sgd",)}, "unknown method 'sgd'"),
        ({"methods": ("scratch",)}, "use fresh or vanilla"),
        ({"methods": ("dash",)}, "takes a pass over new data"),
        ({"methods": ("hare_and_tortoise",)}, "evaluates other parameters"),
        ({"coefficients": {"swr": 2.0}}, "must be from 0 to 1, not 2"),
        ({"coefficients": {"upgd": 2.0}}, "not among the methods"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"learning_rates": {"upgd": 1e-3}}, "not among the methods"),
        ({"optimizer": "lion"}, "unknown optimizer 'lion'"),
    ],
)
def test_what_does_not_fit_is_named(fields, message):
    with pytest.raises(UserError, match=message):
        AgentConfig(**fields)


def test_the_defaults_are_the_published_run():
    config = AgentConfig(seeds=10)
    assert config.methods == METHODS_COMPARED
    assert config.profile == "paper"
    assert dataclasses.replace(config, tasks=3).profile == "custom"


def test_every_length_is_a_configuration():
    for name, profiles in LENGTHS.items():
        for profile, length in profiles.items():
            config = AgentConfig(
                dataset=name,
                model=length.model,
                tasks=length.levels,
                iterations=length.iterations,
                seeds=length.seeds,
            )
            assert config.profile == profile


def test_every_coefficient_is_of_a_method_that_has_such():
    for method, value in AGENT_COEFFICIENTS.items():
        config = AgentConfig(methods=(method,))
        assert config.coefficient(method) == value
        AgentConfig(methods=(method,), coefficients={method: value})
    (other,) = [m for m in METHODS if m == "weight_clipping"]
    assert AgentConfig(methods=(other,)).coefficient(other) == METHODS[other].default


def test_json_says_all_that_a_repetition_needs():
    found = json.loads(AgentConfig(methods=("swr",), coefficients={}).to_json())
    assert found["protocol"] == "agent"
    assert found["ppo"]["environments"] == 8
    assert found["coefficients"] == {"swr": AGENT_COEFFICIENTS["swr"]}
    assert found["epochs"], found["batch_size"] == (5, 32)
    assert found["versions"]["gymnax"] == metadata.version("gymnax")
    assert {"device", "profile", "tasks", "iterations"} <= set(found)


def test_coefficients_that_no_sweep_has_chosen_are_named(capsys):
    name_defaults(AgentConfig(methods=("vanilla", "swr", "spectral")))
    assert capsys.readouterr().err == (
        "no sweep has chosen coefficients for these methods with agents: taking"
        " spectral 0.0001 (--coefficient sets them)\n"
    )
    name_defaults(AgentConfig(methods=("vanilla", "swr")))
    assert not capsys.readouterr().err

"""Runs of agents over levels."""

import dataclasses

import numpy as np
import pytest

from experiments.agents.agent_loop import AgentRun, run_agents
from experiments.agents.config import AgentConfig
from experiments.agents.ppo import Ppo
from experiments.training.checkpoint import Checkpoints

SMALL = Ppo(environments=4, steps=25, epochs=2, batch=20)
CONFIG = AgentConfig(
    model="actor_critic_small",
    methods=("vanilla", "fresh", "swr", "shrink_and_perturb"),
    seeds=2,
    tasks=3,
    iterations=10,
    ppo=SMALL,
)


def run(config, folder, tick=lambda _: None):
    return run_agents(config, tick, Checkpoints(folder / "checkpoint", "test"))


def rows(records):
    """All but the time."""
    return [dataclasses.replace(record, seconds=0.0).row() for record in records]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return run(CONFIG, tmp_path_factory.mktemp("whole"))


def of(records, method, seed=0):
    return [r for r in records if r.method == method and r.seed == seed]


def test_every_method_seed_and_level_has_a_record(records):
    assert [(r.method, r.seed, r.task) for r in records] == [
        (method, seed, level)
        for method in CONFIG.methods
        for seed in range(2)
        for level in (1, 2, 3)
    ]
    assert [r.step for r in of(records, "swr")] == [1000, 2000, 3000]
    assert {r.game for r in records} == {"CartPole-v1"}


def test_before_anything_changes_methods_that_act_at_changes_are_alike(records):
    first = {m: of(records, m)[0].train_loss for m in CONFIG.methods}
    assert first["fresh"] == first["shrink_and_perturb"] == first["vanilla"]
    assert first["vanilla"] != first["swr"]
    later = {m: of(records, m)[1].train_loss for m in CONFIG.methods}
    assert len(set(later.values())) == len(CONFIG.methods)


def test_a_fresh_network_has_grown_since_its_level_began(records):
    fresh, plain = of(records, "fresh"), of(records, "vanilla")
    assert fresh[2].weight_growth < plain[2].weight_growth
    assert set(fresh[0].growth) == set(plain[0].growth)


def test_norms_do_not_grow_beyond_a_firm_reference(tmp_path):
    config = dataclasses.replace(CONFIG, methods=("swr",), coefficients={"swr": 1.0})
    for record in run(config, tmp_path):
        np.testing.assert_allclose([*record.growth.values()], 1, atol=1e-4)


@pytest.mark.parametrize("ticks", [3, 8, 35])
def test_a_run_that_was_stopped_goes_on_as_if_it_were_not(records, tmp_path, ticks):
    """Between two levels, in the middle of one, or before anything was saved."""
    config = dataclasses.replace(CONFIG, methods=("fresh", "swr"), seeds=1)
    count = 0

    def stop(_):
        nonlocal count
        count += 1
        if count == ticks:
            raise KeyboardInterrupt

    checkpoints = Checkpoints(tmp_path / "checkpoint", "test")
    checkpoints.seconds = 0.0
    with pytest.raises(KeyboardInterrupt):
        run_agents(config, stop, checkpoints)
    found = run(config, tmp_path)
    wanted = [*of(records, "fresh"), *of(records, "swr")]
    assert rows(found) == rows(wanted)


def test_a_run_is_pickled_without_what_it_compiled():
    make, arguments = AgentRun(CONFIG).__reduce__()
    assert make(*arguments)._config == CONFIG


def test_images_of_one_game_after_the_other(tmp_path):
    config = dataclasses.replace(
        CONFIG,
        dataset="minatar",
        model="actor_critic_images_shared",
        methods=("swr_function",),
        seeds=1,
        tasks=2,
    )
    found = run(config, tmp_path)
    games = [record.game.split("-")[0] for record in found]
    assert games == ["Breakout", "Asterix"]
    assert all(np.isfinite(record.train_loss) for record in found)
    assert 0 <= found[-1].dead_units <= 1

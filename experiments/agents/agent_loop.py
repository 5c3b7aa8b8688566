"""Runs agents: level after level, of every method and seed."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.agents.agent import Agent, Seen
from experiments.agents.config import PARTS, AgentConfig
from experiments.agents.environments import build_game
from experiments.agents.ppo import objective
from experiments.agents.records import LevelRecord, of_level
from experiments.methods import METHODS
from experiments.models import AGENT_MODELS, HEADS
from experiments.protocols.comparison import OPTIMIZERS
from experiments.protocols.records import of_member
from experiments.training.checkpoint import Checkpoints, Lane
from experiments.training.engine import Engine, Tick, run_here
from experiments.training.lanes import Job, Member, lanes, stacked
from experiments.training.network import Network
from experiments.training.training import Training

Histories = list[list[LevelRecord]]
"""All levels so far, of each member."""


def run_agents(
    config: AgentConfig,
    tick: Tick[LevelRecord],
    checkpoints: Checkpoints,
    engine: Engine = run_here,
) -> list[LevelRecord]:
    """Runs all methods and seeds of a configuration; records in their order."""
    jobs = [Job(method, config.members(method)) for method in config.methods]
    found = run_jobs(config, jobs, tick, checkpoints, engine)
    return [
        record for histories in found for history in histories for record in history
    ]


def run_jobs(
    config: AgentConfig,
    jobs: Sequence[Job],
    tick: Tick[LevelRecord],
    checkpoints: Checkpoints,
    engine: Engine = run_here,
) -> list[Histories]:
    """Runs methods with seeds and coefficients; the records of each job's members.

    Jobs take turns seed by seed, so that one sees early how methods compare.
    """
    parts = [
        (turn, i, Job(job.method, lane))
        for i, job in enumerate(jobs)
        for turn, lane in enumerate(lanes(job.members))
    ]
    parts.sort(key=lambda part: part[:2])
    side_by_side = [job for _, _, job in parts]
    results = engine(AgentRun(config), [side_by_side], tick, checkpoints)
    histories: list[Histories] = [[] for _ in jobs]
    for (_, i, _), found in zip(parts, results, strict=True):
        histories[i] += found
    return histories


class AgentRun:
    """What the lanes of a run of agents have in common.

    It is pickled without what it has compiled.

    Args:
        config: of the run.
    """

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._agents = {name: build_agent(config, name) for name in config.methods}

    def __reduce__(self) -> tuple[type[AgentRun], tuple[AgentConfig]]:
        return AgentRun, (self._config,)

    def run_lane(
        self, job: Job, device: jax.Device, saved: Lane, tick: Tick[LevelRecord]
    ) -> Histories:
        """Runs some members of a method together, from where they were saved last."""
        agent = self._agents[job.method]
        return _run_lane(self._config, agent, job, device, saved, tick)


def build_agent(config: AgentConfig, method: str) -> Agent:
    """What plays and learns with a method."""
    environment, ppo, entry = config.environment, config.ppo, METHODS[method]
    build = AGENT_MODELS[config.model].build
    network = Network(
        model=build(environment.actions, layer_norm=entry.layer_norm),
        inputs=jax.ShapeDtypeStruct((ppo.batch, *environment.shape), jnp.float32),
        heads=HEADS,
        kept=("value",),
    )
    training = Training(
        network=network,
        method=entry,
        optimizer=OPTIMIZERS[config.optimizer],
        objective=objective(ppo),
        measures=("loss", "gradient_norm"),
        data_axis=0,
    )
    return Agent(training, ppo, environment.rewards)


def _run_lane(
    config: AgentConfig,
    agent: Agent,
    job: Job,
    device: jax.Device,
    lane: Lane,
    tick: Tick[LevelRecord],
) -> Histories:
    members, training, environment = job.members, agent.training, config.environment
    arrays = stacked(members, device)
    learner = training.initialize(members, device=device)
    initial = jax.tree.map(jnp.copy, learner.params)
    histories: Histories = [[] for _ in members]
    saved = lane.load(learner, _read_histories)
    if saved is not None:
        learner, histories = saved
        for together in zip(*histories, strict=True):
            tick(together)
    last = histories[0][-1] if histories[0] else None
    began = time.perf_counter() - (last.seconds if last else 0.0)
    for level in range(len(histories[0]) + 1, config.tasks + 1):
        if training.method.fresh and level > 1:
            seeds = [config.fresh_seed(member.seed, level) for member in members]
            learner = training.initialize(members, seeds, device)
            initial = jax.tree.map(jnp.copy, learner.params)
        elif level > 1:
            learner = training.change_data(learner, initial, arrays)
        game = build_game(config.dataset, environment.game(level))
        shift = np.stack([environment.shift_at(level, m.seed) for m in members])
        state = agent.start(game, learner, shift, _keys(members, level, device))
        parts: list[Seen] = []
        for _ in range(PARTS):
            tick([])  # Where a run that is to end does so.
            state, seen, looked = agent.learn(
                game, state, arrays, shift, config.iterations // PARTS
            )
            parts.append(jax.tree.map(np.asarray, seen))
        learner = state.learner
        curves = {
            name: np.concatenate([getattr(part, name) for part in parts], axis=1)
            for name in Seen._fields
        }
        units = training.observe(learner, initial, looked)
        steps = level * config.iterations * config.ppo.environments * config.ppo.steps
        seconds = time.perf_counter() - began
        for i, (history, member) in enumerate(zip(histories, members, strict=True)):
            history.append(
                LevelRecord(
                    protocol=config.protocol,
                    dataset=config.dataset,
                    model=config.model,
                    method=job.method,
                    seed=member.seed,
                    task=level,
                    game=environment.game(level),
                    step=steps,
                    seconds=seconds,
                    **of_level({name: curve[i] for name, curve in curves.items()}),
                    **of_member(units, i, training.plan),
                )
            )
        tick([history[-1] for history in histories])
        if lane.is_due() or level == config.tasks:
            lane.save(
                learner,
                {"histories": [list(map(dataclasses.asdict, h)) for h in histories]},
            )
    return histories


def _keys(
    members: Sequence[Member], level: int, device: jax.Device | None
) -> jax.Array:
    """Of all that is drawn in a level, which is the same whatever the method."""
    keys = [
        jax.random.fold_in(jax.random.key(member.seed), level) for member in members
    ]
    return jax.device_put(jnp.stack(keys), device)


def _read_histories(saved: Any) -> Histories:
    return [
        [LevelRecord(**record) for record in history] for history in saved["histories"]
    ]

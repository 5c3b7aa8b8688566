"""Runs agents: level after level, of every method and seed."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.agents.agent import Agent, AgentState, Seen
from experiments.agents.config import PARTS, AgentConfig
from experiments.agents.environments import Game, build_game
from experiments.agents.ppo import objective
from experiments.agents.records import LevelRecord, of_level
from experiments.methods import METHODS
from experiments.models import AGENT_MODELS, HEADS
from experiments.protocols.comparison import OPTIMIZERS
from experiments.protocols.records import of_member
from experiments.training.checkpoint import Checkpoints, Lane
from experiments.training.engine import Engine, Tick, run_here, run_in_turns
from experiments.training.lanes import Job, Member, stacked
from experiments.training.network import Network
from experiments.training.step import TrainState
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
    """Runs methods with seeds and coefficients; the records of each job's members."""
    return run_in_turns(AgentRun(config), jobs, tick, checkpoints, engine)


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

    def networks(level: int) -> TrainState:
        """New ones, as the run's or a level's are."""
        fresh = training.method.fresh and level > 1
        seeds = [config.fresh_seed(m.seed, level) if fresh else m.seed for m in members]
        return training.initialize(members, seeds, device)

    def begin(level: int, learner: TrainState) -> AgentState:
        shift, keys = shifts(level), _keys(members, level, device)
        return agent.start(_game(config, level), learner, shift, keys)

    def shifts(level: int) -> np.ndarray:
        return np.stack([environment.shift_at(level, m.seed) for m in members])

    progress = _Progress([[] for _ in members], [])
    learner = networks(1)
    saved = lane.load(
        lambda progress: begin(progress.level, jax.tree.map(jnp.copy, learner)),
        _read_progress,
    )
    state = None
    if saved is not None:
        state, progress = saved
        learner = state.learner
        for together in zip(*progress.histories, strict=True):
            tick(together)
    histories, parts = progress
    last = histories[0][-1] if histories[0] else None
    began = time.perf_counter() - (last.seconds if last else 0.0)
    for level in range(len(histories[0]) + 1, config.tasks + 1):
        initial = networks(level).params
        if not parts:
            if training.method.fresh:
                learner = networks(level)
            elif level > 1:
                learner = training.change_data(learner, initial, arrays)
            state = begin(level, learner)
        assert state is not None
        while len(parts) < PARTS:
            tick([])  # Where a run that is to end does so.
            state, seen, looked = agent.learn(
                _game(config, level),
                state,
                arrays,
                shifts(level),
                config.iterations // PARTS,
            )
            parts.append(jax.tree.map(np.asarray, seen))
            if len(parts) < PARTS and lane.is_due():
                lane.save(state, _Progress(histories, parts).as_json())
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
        parts = []
        tick([history[-1] for history in histories])
        if lane.is_due() or level == config.tasks:
            lane.save(state, _Progress(histories, parts).as_json())
    return histories


class _Progress(NamedTuple):
    """How far a lane has come.

    Attributes:
        histories: all levels so far.
        parts: what was measured in the level that has begun.
    """

    histories: Histories
    parts: list[Seen]

    @property
    def level(self) -> int:
        """Of the state that goes with it."""
        return len(self.histories[0]) + bool(self.parts)

    def as_json(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        return {
            "histories": [list(map(dataclasses.asdict, h)) for h in self.histories],
            "parts": [[array.tolist() for array in part] for part in self.parts],
        }


def _read_progress(saved: Any) -> _Progress:
    histories = [
        [LevelRecord(**record) for record in history] for history in saved["histories"]
    ]
    parts = [Seen(*map(jnp.asarray, part)) for part in saved["parts"]]
    return _Progress(histories, parts)


def _game(config: AgentConfig, level: int) -> Game:
    return build_game(config.dataset, config.environment.game(level))


def _keys(
    members: Sequence[Member], level: int, device: jax.Device | None
) -> jax.Array:
    """Of all that is drawn in a level, which is the same whatever the method."""
    keys = [
        jax.random.fold_in(jax.random.key(member.seed), level) for member in members
    ]
    return jax.device_put(jnp.stack(keys), device)

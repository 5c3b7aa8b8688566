"""The command ``agent``: a run as a user sees it."""

from __future__ import annotations

from pathlib import Path

from experiments.agents.agent_loop import run_agents
from experiments.agents.config import AgentConfig
from experiments.commands.live_table import Shown
from experiments.commands.stages import name_defaults
from experiments.commands.streams import Learn, run_tasks
from experiments.training.compiled import keep_compiled_programs
from experiments.training.engine import Engine, run_here


def run(
    config: AgentConfig,
    out: Path,
    tensorboard: bool,
    engine: Engine = run_here,
    restart: bool = False,
) -> None:
    """Runs agents, prints who keeps learning and writes the run's folder.

    What the folder has already is not run again, unless that is wanted.

    Raises:
        UserError: if the folder cannot be written.
    """

    def with_programs() -> tuple[AgentConfig, Learn]:
        keep_compiled_programs()
        name_defaults(config)
        return config, lambda tick, checkpoints: run_agents(
            config, tick, checkpoints, engine
        )

    run_tasks(config, shown(config), with_programs, out, tensorboard, restart)


def shown(config: AgentConfig) -> Shown:
    """What is seen of a run while it goes on."""
    return Shown(
        heading=f"{config.environment.title}, {config.model}",
        methods=config.methods,
        seeds=config.seeds,
        tasks=config.tasks,
        unit="level",
        column="average return",
        score=lambda record: record.average_return,
        form=".1f",
    )

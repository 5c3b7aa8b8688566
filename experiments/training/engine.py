"""Where the lanes of a run are worked on: here, a device for each in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import jax

from experiments.training.checkpoint import Checkpoints, Lane
from experiments.training.lanes import Job, lanes
from experiments.training.side_by_side import run_side_by_side

Done = TypeVar("Done")
Result = TypeVar("Result")
Told = TypeVar("Told", covariant=True)
Made = TypeVar("Made", covariant=True)

Tick = Callable[[Sequence[Done]], None]
"""Called with what some members of a lane have just finished, in the order of time."""


class Run(Protocol[Told, Made]):
    """What the lanes of a run have in common, and what is done with each."""

    def run_lane(
        self, job: Job, device: jax.Device, saved: Lane, tick: Tick[Told]
    ) -> Made:
        """Works on one lane.

        Args:
            job: whose members go together.
            device: where their arrays are and their programs run.
            saved: where the lane goes on, and where it is saved now and then.
            tick: called now and then; what was done before the lane was saved is told
                again, at once.
        """


class Engine(Protocol):
    """What works on all lanes of a run."""

    def __call__(
        self,
        run: Run[Done, Result],
        rounds: Sequence[Sequence[Job]],
        tick: Tick[Done],
        checkpoints: Checkpoints,
    ) -> list[Result]:
        """The results, in the order of the lanes.

        Args:
            run: what the lanes belong to.
            rounds: lanes that may go side by side; one machine takes the rounds one
                after the other.
            tick: see :data:`Tick`.
            checkpoints: where lanes are saved.
        """


def run_here(
    run: Run[Done, Result],
    rounds: Sequence[Sequence[Job]],
    tick: Tick[Done],
    checkpoints: Checkpoints,
) -> list[Result]:
    """The engine that is this process: lanes in threads, spread over local devices."""
    devices = jax.local_devices()

    def work(numbered: tuple[int, Job], tick: Tick[Done]) -> Result:
        i, job = numbered
        saved = Lane(checkpoints.file(job), checkpoints.seconds)
        return run.run_lane(job, devices[i % len(devices)], saved, tick)

    return [
        result
        for jobs in rounds
        for result in run_side_by_side(work, list(enumerate(jobs)), tick)
    ]


def run_in_turns(
    run: Run[Done, list[Result]],
    jobs: Sequence[Job],
    tick: Tick[Done],
    checkpoints: Checkpoints,
    engine: Engine = run_here,
) -> list[list[Result]]:
    """Runs methods whose lanes are independent; the results of each job's members.

    Jobs take turns seed by seed, so that one sees early how methods compare.

    Args:
        run: whose lanes give a result for each of their members.
        jobs: each with all members of a method.
        tick: see :data:`Tick`.
        checkpoints: where lanes are saved.
        engine: what works on them.
    """
    parts = [
        (turn, i, Job(job.method, lane))
        for i, job in enumerate(jobs)
        for turn, lane in enumerate(lanes(job.members))
    ]
    parts.sort(key=lambda part: part[:2])
    side_by_side = [job for _, _, job in parts]
    found: list[list[Result]] = [[] for _ in jobs]
    results = engine(run, [side_by_side], tick, checkpoints)
    for (_, i, _), of_lane in zip(parts, results, strict=True):
        found[i] += of_lane
    return found

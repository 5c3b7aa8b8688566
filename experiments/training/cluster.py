"""Hands the lanes of a run to the machines of a cluster, as tasks of Ray.

Beside the user's process there is one actor, the desk: workers send it what they have
done and what is to be saved, and it keeps a run's checkpoint where it is without a
cluster. So no file system has to be shared, and a lane whose worker is lost goes on
elsewhere from what the desk has saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import functools
import logging
import os
import socket
from types import TracebackType
from typing import Any, Self

import jax
import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from experiments.errors import UserError
from experiments.training import stopping
from experiments.training.checkpoint import Checkpoints, File, Lane
from experiments.training.compiled import keep_compiled_programs
from experiments.training.engine import Done, Result, Run, Tick
from experiments.training.lanes import Job
from experiments.training.side_by_side import run_side_by_side

RETRIES = 10
"""How often a lane whose worker is lost goes on elsewhere."""

SECONDS = 0.2
"""Between two looks at what workers have done."""

CONNECT_SECONDS = 5.0
"""How long a cluster may take to answer; Ray alone tries for minutes."""


class Cluster:
    """An engine: to be entered before it is used.

    Args:
        address: ``"auto"``, ``"local"`` or HOST:PORT, as :func:`ray.init` takes it.
        cpus: cores that a lane is given.
        gpus: accelerators that a lane is given, or a part of one; None for one
            where the cluster has any.
        environment: variables of the workers' processes.
    """

    def __init__(
        self,
        address: str,
        cpus: float = 1,
        gpus: float | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._address = address
        self._cpus, self._gpus = cpus, gpus
        self._environment = dict(environment or {})

    def __enter__(self) -> Self:
        """Connects.

        Raises:
            UserError: if the cluster does not answer, or has no room for a lane.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Lanes share an accelerator, and this process may have one before its eyes.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        _check_answers(self._address)
        told = {k: v for k, v in os.environ.items() if k.startswith(("JAX_", "XLA_"))}
        try:
            ray.init(
                self._address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": told | self._environment},
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(f"--cluster {self._address}: {_line(error)}") from error
        try:
            self._find_room()
        except UserError:
            ray.shutdown()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        ray.shutdown()

    def __call__(
        self,
        run: Run[Done, Result],
        rounds: Sequence[Sequence[Job]],
        tick: Tick[Done],
        checkpoints: Checkpoints,
    ) -> list[Result]:
        """Hands out all lanes at once; see :class:`experiments.training.engine.Engine`.

        Raises:
            UserError: a worker's, or if a lane was lost too often.
        """
        here = ray.get_runtime_context().get_node_id()
        desk = (
            ray.remote(Desk)
            .options(
                num_cpus=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
            )
            .remote()
        )
        share = {"num_cpus": self._cpus, "num_gpus": self._gpus}
        task = ray.remote(work_on)
        shared = [ray.put(run)]  # In a list, or Ray would unpickle it for each lane.
        jobs = [job for side_by_side in rounds for job in side_by_side]
        lanes = []
        for i, job in enumerate(jobs):
            file = File(checkpoints.file(job).path.absolute())
            name = f"lane {i} {job.method}"
            one = task.options(name=name, max_retries=RETRIES, **share)
            lanes.append(one.remote(shared, i, job, desk, file, checkpoints.seconds))
        shown, waiting = [0] * len(jobs), list(lanes)
        results: dict[Any, Result] = {}
        try:
            told_to_stop = False
            while waiting:
                if stopping.is_asked() and not told_to_stop:
                    _get(desk.stop.remote())
                    told_to_stop = True
                finished, waiting = ray.wait(waiting, timeout=SECONDS)
                for i, start, done in _get(desk.take.remote()):
                    # A lane that was lost tells again what it does again.
                    new = done[max(0, shown[i] - start) :]
                    shown[i] += len(new)
                    if new:
                        tick(new)
                results |= {lane: _get(lane) for lane in finished}
        finally:
            for lane in waiting:
                ray.cancel(lane, force=True)
            ray.kill(desk)
        stopping.raise_if_asked()  # Lanes that were told to stop have no results.
        return [results[lane] for lane in lanes]

    def _find_room(self) -> None:
        """Raises an error if no machine can take a lane, which would wait forever."""
        if self._gpus is None:
            self._gpus = min(1, ray.cluster_resources().get("GPU", 0))
        needed = {"CPU": self._cpus, "GPU": self._gpus}
        for node in ray.nodes():
            has = node["Resources"]
            if all(has.get(name, 0) >= share for name, share in needed.items()):
                return
        raise UserError(
            f"no machine of the cluster has {self._cpus:g} cores and {self._gpus:g}"
            " accelerators for a lane: lower --lane-cpus or --lane-gpus"
        )


class Desk:
    """An actor: keeps the checkpoint, and what is done until the user is told."""

    def __init__(self) -> None:
        self._told: list[tuple[int, int, list[Any]]] = []
        self._stopping = False

    def tell(self, lane: int, start: int, done: list[Any]) -> bool:
        """Takes what a lane has done, after so many things before it.

        Returns:
            Whether the lane is to save and end.
        """
        if done:
            self._told.append((lane, start, done))
        return self._stopping

    def stop(self) -> None:
        """From now on lanes are to save and end."""
        self._stopping = True

    def take(self) -> list[tuple[int, int, list[Any]]]:
        """Gives all that was told since it was last asked."""
        told, self._told = self._told, []
        return told

    def read(self, file: File) -> bytes | None:
        """See :class:`experiments.training.checkpoint.Storage`."""
        return file.read()

    def write(self, file: File, content: bytes) -> None:
        """See :class:`experiments.training.checkpoint.Storage`."""
        file.write(content)


@dataclasses.dataclass(frozen=True)
class FileAtDesk:
    """A storage that is a file where the desk is.

    Attributes:
        desk: the actor.
        file: as the desk sees it.
    """

    desk: Any
    file: File

    def __str__(self) -> str:
        return str(self.file)

    def read(self) -> bytes | None:
        """See :class:`experiments.training.checkpoint.Storage`."""
        content: bytes | None = _get(self.desk.read.remote(self.file))
        return content

    def write(self, content: bytes) -> None:
        """See :class:`experiments.training.checkpoint.Storage`."""
        _get(self.desk.write.remote(self.file, content))


def work_on(
    shared: Sequence[Any], i: int, job: Job, desk: Any, file: File, seconds: float
) -> Any:
    """The task: works on a lane in a worker's process, from where it was saved last.

    Args:
        shared: one reference, to what the lanes have in common.
        i: number of the lane.
        job: whose members go together.
        desk: the actor.
        file: of the lane's checkpoint.
        seconds: between two saves, at least.

    Returns:
        Its result; None if it was stopped.
    """
    (run,) = map(_fetched, shared)
    count = 0

    def tick(done: Sequence[Any]) -> None:
        nonlocal count
        if _get(desk.tell.remote(i, count, list(done))):
            stopping.ask()
        count += len(done)

    def work(job: Job, tick: Tick[Any]) -> Any:
        tick([])  # Perhaps it is to stop before it has begun.
        saved = Lane(FileAtDesk(desk, file), seconds)
        return run.run_lane(job, jax.local_devices()[0], saved, tick)

    with stopping.stopped_when_asked(), contextlib.suppress(stopping.Stopped):
        (result,) = run_side_by_side(work, [job], tick)
        return result
    return None


@functools.lru_cache(maxsize=1)
def _fetched(shared: Any) -> Any:
    """What a run's lanes have in common; compiled once for all lanes of a process."""
    keep_compiled_programs()
    return _get(shared)


def _get(reference: Any) -> Any:
    """What a task or an actor returns; a user's error is raised as it was there.

    While a task waits in :func:`ray.get`, its cores are given to another lane, which
    keeps them. In a future it waits with its cores.
    """
    try:
        return reference.future().result()
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except RayError as error:
        raise UserError(
            f"the cluster lost a part of the run ({_line(error)}); given again, the"
            " same command goes on"
        ) from error


def _check_answers(address: str) -> None:
    """Raises an error if nothing is there, which takes Ray minutes to find out."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address  # As Ray does it.
    if address in ("auto", "local"):
        return
    if address.startswith("ray://"):
        raise UserError(
            f"--cluster {address}: a run has to start on a machine of the cluster; do"
            " so, with --cluster auto"
        )
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port[:6]) < 2**16):
        raise UserError(
            f"--cluster {address!r} is no address: write auto, local or HOST:PORT"
        )
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"--cluster {address} does not answer ({_line(error)}): start Ray there"
            " with ray start --head, or write auto, local or HOST:PORT"
        ) from None


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]

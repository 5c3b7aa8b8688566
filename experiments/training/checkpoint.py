"""Training that was interrupted goes on where it was saved last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import dataclasses
import hashlib
import json
import os
from pathlib import Path
import shutil
import time
from typing import Any, Protocol, TypeVar

from flax import serialization
import jax
import jax.numpy as jnp

from experiments.errors import UserError
from experiments.training.lanes import Job

SECONDS_BETWEEN = 20.0
"""Training between two saves, at least: saving must not cost what it can save."""

State = TypeVar("State")
Progress = TypeVar("Progress")


class Checkpoints:
    """A folder with the states of what is not finished.

    Attributes:
        folder: where.
        seconds: of a lane's training between two saves, at least.

    Args:
        folder: where; it holds one run's checkpoint at a time.
        identity: what the run is determined by; a checkpoint of any other is
            thrown away.

    Raises:
        UserError: if the folder holds something else.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        self.seconds = SECONDS_BETWEEN
        marker = folder / "run.json"
        content = identity.encode()
        if marker.is_file() and marker.read_bytes() == content:
            return
        if marker.is_file():
            self.remove()
        elif folder.exists() and any(folder.iterdir()):
            raise UserError(
                f"{folder} holds no checkpoint of ours: remove it, or choose another"
                " --out"
            )
        folder.mkdir(parents=True, exist_ok=True)
        marker.write_bytes(content)

    def file(self, job: Job) -> File:
        """Of the part of a run that some members of a method are."""
        # By a digest: a whole grid's members would be too long for a file's name.
        digest = hashlib.sha256(repr(list(job.members)).encode()).hexdigest()
        return File(self.folder / f"{job.method}-{digest[:16]}.msgpack")

    def remove(self) -> None:
        """Throws everything away."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Storage(Protocol):
    """Where a lane's bytes are kept; it prints as its name."""

    def read(self) -> bytes | None:
        """What was written last, or None."""

    def write(self, content: bytes) -> None:
        """Replaces it, whole or not at all.

        Raises:
            UserError: if that cannot be.
        """


@dataclasses.dataclass(frozen=True)
class File:
    """A storage that is a file here.

    Attributes:
        path: of the file.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> bytes | None:
        """See :class:`Storage`."""
        return self.path.read_bytes() if self.path.is_file() else None

    def write(self, content: bytes) -> None:
        """See :class:`Storage`."""
        unfinished = self.path.with_suffix(".unfinished")
        try:
            unfinished.write_bytes(content)
            os.replace(unfinished, self.path)
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}") from error


class Lane:
    """One group of members' place in the checkpoints.

    Args:
        storage: of its own.
        seconds: of training between two saves, at least.
    """

    def __init__(self, storage: Storage, seconds: float) -> None:
        self._storage = storage
        self._seconds = seconds
        self._saved = time.perf_counter()

    def load(
        self, state: State, read: Callable[[Any], Progress]
    ) -> tuple[State, Progress] | None:
        """State and progress as they were saved, or None.

        Args:
            state: of the same structure.
            read: makes the progress of what was given to :meth:`save`, which has
                been through JSON.

        Raises:
            UserError: if the file is damaged.
        """
        content = self._storage.read()
        if content is None:
            return None
        try:
            saved = serialization.msgpack_restore(content)
            progress = read(json.loads(saved["progress"]))
            arrays = serialization.from_state_dict(_as_arrays(state), saved["state"])
            return _with_keys(arrays, state), progress
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{self._storage} is damaged: delete it, and its part of the run"
                " starts anew"
            ) from error

    def is_due(self) -> bool:
        """Whether it is long enough ago that something was saved."""
        return time.perf_counter() - self._saved > self._seconds

    def save(self, state: Any, progress: Mapping[str, Any]) -> None:
        """Saves, whole or not at all.

        Args:
            state: a tree of arrays.
            progress: what JSON can hold.

        Raises:
            UserError: if that cannot be written.
        """
        content = serialization.msgpack_serialize(
            {
                "state": serialization.to_state_dict(_as_arrays(state)),
                "progress": json.dumps(progress),
            }
        )
        self._storage.write(content)
        self._saved = time.perf_counter()


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _as_arrays(state: Any) -> Any:
    """A tree whose random keys are the numbers that they are."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, state)


def _with_keys(arrays: Any, state: Any) -> Any:
    """A tree with keys in the places where another has them."""
    return jax.tree.map(
        lambda x, like: jax.random.wrap_key_data(x) if _is_key(like) else x,
        arrays,
        state,
    )

"""Training that was interrupted goes on where it was saved last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import hashlib
import json
import os
from pathlib import Path
import shutil
import time
from typing import Any, TypeVar

from flax import serialization
import jax
import jax.numpy as jnp

from experiments.errors import UserError

SECONDS_BETWEEN = 20.0
"""Training between two saves, at least: saving must not cost what it can save."""

State = TypeVar("State")
Progress = TypeVar("Progress")


class Checkpoints:
    """A folder with the states of what is not finished.

    Args:
        folder: where; it holds one run's checkpoint at a time.
        identity: what the run is determined by; a checkpoint of any other is
            thrown away.

    Raises:
        UserError: if the folder holds something else.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
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

    def lane(self, method: str, members: Sequence[object]) -> Lane:
        """The part of a run that some members of a method are."""
        # By a digest: a whole grid's members would be too long for a file's name.
        digest = hashlib.sha256(repr(list(members)).encode()).hexdigest()
        return Lane(self.folder / f"{method}-{digest[:16]}")

    def remove(self) -> None:
        """Throws everything away."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Lane:
    """One group of members' place in the checkpoints."""

    def __init__(self, file: Path) -> None:
        self._state = file.with_name(f"{file.name}.msgpack")
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
        if not self._state.is_file():
            return None
        try:
            saved = serialization.msgpack_restore(self._state.read_bytes())
            progress = read(json.loads(saved["progress"]))
            arrays = serialization.from_state_dict(_as_arrays(state), saved["state"])
            return _with_keys(arrays, state), progress
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{self._state} is damaged: delete it, and its part of the run starts"
                " anew"
            ) from error

    def is_due(self) -> bool:
        """Whether it is long enough ago that something was saved."""
        return time.perf_counter() - self._saved > SECONDS_BETWEEN

    def save(self, state: Any, progress: Mapping[str, Any]) -> None:
        """Saves, whole or not at all.

        Args:
            state: a tree of arrays.
            progress: what JSON can hold.

        Raises:
            UserError: if the file cannot be written.
        """
        content = serialization.msgpack_serialize(
            {
                "state": serialization.to_state_dict(_as_arrays(state)),
                "progress": json.dumps(progress),
            }
        )
        unfinished = self._state.with_suffix(".unfinished")
        try:
            unfinished.write_bytes(content)
            os.replace(unfinished, self._state)
        except OSError as error:
            raise UserError(f"cannot write {self._state}: {error.strerror}") from error
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

"""Training that was interrupted goes on where it was saved last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path
import sys
import tempfile
import time
from typing import Any, Protocol, TypeVar

from flax import serialization
import jax
import jax.numpy as jnp

from experiments.errors import UserError
from experiments.files import UNFINISHED
from experiments.training import stopping
from experiments.training.lanes import Job

SECONDS_BETWEEN = 20.0
"""Training between two saves, at least: saving must not cost what it can save."""

FORMAT = 2
"""Of what is saved. The first had no checksums."""

HEAD = f"swr-optax checkpoint {FORMAT}\n".encode()
"""At the beginning of a lane's file; then its checksum, then the lane."""

CANNOT_BE_READ = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError),
    *(OverflowError, RecursionError),
)
"""What comes of a lane whose content another program has made."""

State = TypeVar("State")
Progress = TypeVar("Progress")


class Checkpoints:
    """A folder with the states of what is not finished.

    Attributes:
        folder: where.
        seconds: of a lane's training between two saves, at least.

    Args:
        folder: where; it holds one run's checkpoint at a time.
        identity: what the run is determined by; JSON, if differences are to be named.
        restart: whether a checkpoint that is there is thrown away.

    Raises:
        UserError: if the folder holds another run's checkpoint or something else, or
            cannot be written.
    """

    def __init__(self, folder: Path, identity: str, restart: bool = False) -> None:
        self.folder = folder
        self.seconds = SECONDS_BETWEEN
        marker = File(folder / "run.json")
        try:
            if restart and marker.path.is_file():
                self.remove()
            if marker.path.is_file():
                self._go_on(marker.path, identity)
                return
            there = list(folder.iterdir()) if folder.exists() else []
            if there not in ([], [marker.unfinished]):
                raise UserError(
                    f"{folder} holds no checkpoint of ours: remove it, or choose"
                    " another --out"
                )
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot use {folder}: {error.strerror}") from error
        marker.replace(json.dumps({"format": FORMAT, "run": identity}).encode())

    def file(self, job: Job) -> File:
        """Of the part of a run that some members of a method are."""
        # By a digest: a whole grid's members would be too long for a file's name.
        digest = hashlib.sha256(repr(list(job.members)).encode()).hexdigest()
        return File(self.folder / f"{job.method}-{digest[:16]}.msgpack")

    def remove(self) -> None:
        """Throws everything away, at once: half of a checkpoint would be none.

        The rest of what a killed process was throwing away goes when the next one
        begins, as do files that it was writing.
        """
        with (
            tempfile.TemporaryDirectory(
                prefix=UNFINISHED, dir=self.folder.parent, ignore_cleanup_errors=True
            ) as scratch,
            contextlib.suppress(FileNotFoundError),
        ):
            self.folder.rename(Path(scratch) / self.folder.name)

    def _go_on(self, marker: Path, identity: str) -> None:
        """Refuses another run's checkpoint; says what is there of this one's."""
        otherwise = "choose another --out, or throw it away with --restart"
        try:
            saved = json.loads(marker.read_bytes())
            number, run = saved.get("format", 1), str(saved.get("run"))
            if not isinstance(number, int):
                raise ValueError("a format is a number")
        except (ValueError, AttributeError, RecursionError):
            raise UserError(f"{marker} is damaged: {otherwise}") from None
        if number != FORMAT:
            raise UserError(
                f"{self.folder} holds an unfinished run in format"
                f" {_short(str(number))}, and this version reads {FORMAT} only:"
                f" {otherwise}"
            )
        if changes := differences(run, identity):
            raise UserError(
                f"{self.folder} holds an unfinished run of another configuration"
                f" ({changes}): give its own options again to go on, {otherwise}"
            )
        files = {File(p.with_suffix(".msgpack")) for p in self.folder.iterdir()} - {
            File(marker.with_suffix(".msgpack"))
        }
        whole = sum(file.read() is not None for file in sorted(files, key=str))
        if whole:
            count = f"{whole} part" if whole == 1 else f"{whole} parts"
            print(f"resumed: {self.folder} has {count} of the run", file=sys.stderr)


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
    """A storage that is a file here, with the one before it beside it.

    Attributes:
        path: of the file.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def before(self) -> Path:
        """What the file was before it was written last."""
        return self.path.with_suffix(".before")

    @property
    def unfinished(self) -> Path:
        """What the file will be."""
        return self.path.with_suffix(".unfinished")

    def read(self) -> bytes | None:
        """What was written last, or before it if that is damaged, which is said."""
        newest = _whole(self.path)
        if newest is not None or not (self.path.exists() or self.before.exists()):
            return newest
        earlier = _whole(self.before)
        reason = "is damaged" if self.path.exists() else "is missing"
        if earlier is not None:
            os.replace(self.before, self.path)
            then = "going on from the save before it"
        else:
            reason += ", and no save before it is whole"
            then = "its part of the run starts anew"
            self.path.unlink(missing_ok=True)
            self.before.unlink(missing_ok=True)
        print(f"{self.path} {reason}: {then}", file=sys.stderr)
        return earlier

    def write(self, content: bytes) -> None:
        """See :class:`Storage`."""
        self.replace(HEAD, hashlib.sha256(content).digest(), content)

    def replace(self, *parts: bytes) -> None:
        """Writes bytes as they are, and keeps those that were there.

        Raises:
            UserError: if that cannot be.
        """
        try:
            with self.unfinished.open("wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())  # Or the name might come before the bytes.
            if self.path.exists():
                _keep(self.path, self.before)
            os.replace(self.unfinished, self.path)
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}") from error


def _keep(path: Path, before: Path) -> None:
    """Gives a file a second name, so that at no moment there is none."""
    before.unlink(missing_ok=True)
    try:
        os.link(path, before)
    except OSError:  # Not every file system has links.
        os.replace(path, before)


def _whole(path: Path) -> bytes | None:
    """What was saved in a file, if all of it is there as it was written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    start = len(HEAD) + hashlib.sha256().digest_size
    saved = content[start:]
    head = HEAD + hashlib.sha256(saved).digest()
    return saved if content[:start] == head else None


FOLLOWS = "profile"
"""The field that only names what others say: by it alone no run is another."""


def differences(before: str, now: str, besides: Sequence[str] = ()) -> str:
    """In which fields two configurations differ, in words; nothing if in none.

    Args:
        before: JSON of an object, or any other text.
        now: the same.
        besides: names of fields that may differ.

    >>> differences('{"epochs": 100, "seeds": 5}', '{"epochs": 10, "seeds": 5}')
    'epochs 100 → 10'
    """
    try:
        runs = [json.loads(text) for text in (before, now)]
        for run in runs:
            for name in (FOLLOWS, *besides):
                run.pop(name, None)
        old, new = (dict(_flat("", run)) for run in runs)
        first, second = (json.dumps(run, sort_keys=True) for run in runs)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return "" if before == now else "of another kind"
    if first == second:
        return ""
    found = {
        name: f"{_short(name)} {_short(earlier)} → {_short(later)}"
        for name in old | new
        if (earlier := old.get(name, "none")) != (later := new.get(name, "none"))
    }
    if "data" in found and "none" not in (old.get("data", "none"), new.get("data")):
        found["data"] = "the data differ"  # Their digests would tell nobody more.
    # How many stages there are follows from the protocol, if that is another.
    said = [x for name, x in found.items() if name != "stages"]
    said = said or list(found.values()) or ["of another form"]
    more = f" and {len(said) - MOST_NAMED} more" if len(said) > MOST_NAMED else ""
    return ", ".join(said[:MOST_NAMED]) + more


def _short(text: str) -> str:
    """So much of a text as belongs in a line."""
    plain = text if text.isprintable() else ascii(text)
    return plain if len(plain) <= LONGEST else f"{plain[:LONGEST]}…"


LONGEST = 150
"""Of the names and values in a difference, in characters."""

MOST_NAMED = 8
"""Differences; a line is to stay one that is read."""


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Fields of an object and of objects in it: ``versions.jax``."""
    if isinstance(value, dict) or not name:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else key, inner)
    elif isinstance(value, list):
        yield name, " ".join(map(str, value))
    else:
        yield name, "none" if value is None else str(value)


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
        self, like: Callable[[Progress], State], read: Callable[[Any], Progress]
    ) -> tuple[State, Progress] | None:
        """State and progress as they were saved, or None.

        Args:
            like: a state of the same structure, from the progress.
            read: makes the progress of what was given to :meth:`save`, which has
                been through JSON.

        Raises:
            UserError: if what was saved does not fit.
            Stopped: if the run is to end.
        """
        stopping.raise_if_asked()  # Before anything long is compiled.
        content = self._storage.read()
        if content is None:
            return None
        try:
            saved = serialization.msgpack_restore(content)
            progress = read(json.loads(saved["progress"]))
            state = like(progress)
            arrays = serialization.from_state_dict(_as_arrays(state), saved["state"])
            jax.tree.map(_check_fits, arrays, _as_arrays(state))
            return _with_keys(arrays, state), progress
        except CANNOT_BE_READ as error:
            raise UserError(
                f"{self._storage} does not fit this run: choose another --out, or"
                " throw it away with --restart"
            ) from error

    def is_due(self) -> bool:
        """Whether it is time to save; it is when the run is to end."""
        return stopping.is_asked() or time.perf_counter() - self._saved > self._seconds

    def save(self, state: Any, progress: Mapping[str, Any]) -> None:
        """Saves, whole or not at all.

        Args:
            state: a tree of arrays.
            progress: what JSON can hold.

        Raises:
            UserError: if that cannot be written.
            Stopped: afterwards, if the run is to end.
        """
        content = serialization.msgpack_serialize(
            {
                "state": serialization.to_state_dict(_as_arrays(state)),
                "progress": json.dumps(progress),
            }
        )
        self._storage.write(content)
        self._saved = time.perf_counter()
        stopping.raise_if_asked()


def _check_fits(array: Any, like: Any) -> None:
    if array.shape != like.shape or array.dtype != like.dtype:
        raise ValueError(f"{array.shape} {array.dtype} for {like.shape} {like.dtype}")


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

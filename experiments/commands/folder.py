"""A run's folder: for one process at a time, and not for what it has already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import json
import os
from pathlib import Path
import shutil
import socket
import sys
from typing import IO, Any

import pandas as pd

from experiments.errors import UserError
from experiments.files import UNFINISHED, reason
from experiments.reporting.runs import Run, read_run
from experiments.training.checkpoint import differences

try:
    import fcntl
except ImportError:  # Not every system has it.
    fcntl = None  # type: ignore[assignment]

UNLOCKED = "has no locks here: see to it that no other process writes to it"

OTHERWISE = "choose another --out, or replace it with --restart"


@contextlib.contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """A block in which no other process works in a folder, which is made if need be.

    The lock is the system's, so that it ends with the process, however that ends.

    Raises:
        UserError: if another process does, or the folder cannot be written.
    """
    path = out / ".lock"
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = _locked(path, out)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write to {out}: {reason(error)}") from error
    for left in out.glob(f"{UNFINISHED}*"):  # By a process that was killed.
        shutil.rmtree(left, ignore_errors=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()
        with contextlib.suppress(OSError):  # They stay if there is something in them.
            for folder in made:
                folder.rmdir()


def _locked(path: Path, out: Path) -> IO[str]:
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            if fcntl is None:
                raise OSError("no locks")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise UserError(
                f"{out} is in use by {holder}: wait for it or stop it, or choose"
                " another --out"
            ) from None
        except OSError:
            print(f"{out} {UNLOCKED}", file=sys.stderr)
        else:
            if not _is_still(path, file):  # Its holder has ended and removed it.
                file.close()
                continue
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        return file


def _is_still(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def finished_rows(
    out: Path, identity: str, tensorboard: bool = False
) -> pd.DataFrame | None:
    """The metrics of a run that a folder has already, which is said; else None.

    Args:
        out: the folder.
        identity: the configuration, as ``config.json`` has it.
        tensorboard: whether event files are wanted, which a finished run cannot give.

    Raises:
        UserError: if it has another one, which may be the work of hours.
    """
    run = _run_in(out)
    if run is None:
        return None
    changes = changed(run.config, identity)
    if changes:
        raise UserError(f"{out} has another run ({changes}): {OTHERWISE}")
    if not _is_whole(run):
        return None
    again = "--restart runs it again"
    if tensorboard:
        again += ", and writes event files, which needs training"
    print(f"{out} has this run already: {again}", file=sys.stderr)
    return run.metrics


def has_another(out: Path, identity: str) -> bool:
    """Whether a folder has a run of another configuration, which is not running."""
    run = _run_in(out)
    return run is not None and bool(changed(run.config, identity))


def _run_in(out: Path) -> Run | None:
    if (out / "checkpoint").exists():
        return None  # It is running, whatever was there before.
    try:
        return read_run(out)
    except UserError:
        return None


def changed(there: Mapping[str, Any], identity: str) -> str:
    """In what a configuration differs from a finished one, in words; else nothing.

    Which data they were is left out: what is finished is shown without reading any.

    Args:
        there: the finished one, as its file has it.
        identity: the other, as JSON.
    """
    return differences(json.dumps(there), identity, besides=("data",))


def _is_whole(run: Run) -> bool:
    progress = run.progress
    seeds = len(run.config["methods"]) * run.config["seeds"]
    return len(progress) == seeds and bool((progress.done >= progress.wanted).all())

"""Decoded arrays, kept between runs with what tells whether they are still whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import hashlib
import json
from pathlib import Path
import sys
import tempfile

import numpy as np

Arrays = Mapping[str, np.ndarray]
"""By name."""

NAMES = ("train_images", "train_labels", "test_images", "test_labels")
"""Of the arrays."""

CHECKSUMS = "checksums.json"
"""Beside the arrays: what :func:`checksum` says of each one's file."""


def cached(folder: Path | None, name: str, decode: Callable[[], Arrays]) -> Arrays:
    """Arrays from their folder, or decoded anew where they are not there whole.

    Args:
        folder: of these arrays alone; None if there is no place for any.
        name: of the data set, for what is said on standard error.
        decode: makes the arrays.
    """
    if folder is None:
        print(f"decoding {name}, which stays uncached: no HOME", file=sys.stderr)
        return decode()
    reason = ""
    try:
        return read(folder)
    except FileNotFoundError as error:
        if folder.is_dir():  # An earlier version of ours wrote no checksums.
            reason = f"{Path(error.filename).name} is missing"
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)
    if reason:
        print(f"{folder} is damaged ({reason}): decoding {name} anew", file=sys.stderr)
    else:
        print(f"decoding {name} once, into {folder}", file=sys.stderr)
    arrays = decode()
    try:
        replace(folder, arrays)
    except OSError as error:
        print(f"{name} stays uncached: {error}", file=sys.stderr)
    return arrays


def read(folder: Path) -> Arrays:
    """The arrays of a folder.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if a file is not what was written.
    """
    text = (folder / CHECKSUMS).read_text(encoding="utf-8")
    try:
        checksums = json.loads(text)
    except RecursionError:  # Brackets in brackets, thousands deep.
        checksums = None
    files = [folder / f"{name}.npy" for name in NAMES]
    if not isinstance(checksums, dict) or set(checksums) != {f.name for f in files}:
        raise ValueError(f"{CHECKSUMS} does not name the arrays")
    for file in files:  # Before anything is made of them.
        if checksum(file) != checksums[file.name]:
            raise ValueError(f"{file.name} is not what was written")
    return {file.stem: np.load(file, allow_pickle=False) for file in files}


def replace(folder: Path, arrays: Arrays) -> None:
    """Writes arrays in the place of a folder that is damaged or not there.

    Raises:
        OSError: if they cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        complete = Path(scratch) / "complete"
        complete.mkdir()
        checksums = {}
        for name, array in arrays.items():
            file = complete / f"{name}.npy"
            np.save(file, array)
            checksums[file.name] = checksum(file)
        (complete / CHECKSUMS).write_text(json.dumps(checksums), encoding="utf-8")
        # Other runs see the whole cache or none of it.
        try:
            complete.rename(folder)
        except OSError:
            try:
                read(folder)  # Another run was faster.
            except (OSError, ValueError):
                folder.rename(Path(scratch) / "damaged")
                complete.rename(folder)


def checksum(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

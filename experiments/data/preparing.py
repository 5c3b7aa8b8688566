"""Downloads data sets and lets TFDS prepare them, which takes TensorFlow.

The files are fetched here, since TFDS waits for a silent server without end and tries
a failing one for minutes; it then finds them as if a user had put them there.
"""

from __future__ import annotations

import http.client
import importlib.util
import os
from pathlib import Path
import sys
import tempfile
import urllib.error
import urllib.request

from rich.console import Console
from rich.progress import wrap_file

from experiments.data.cache import checksum
from experiments.errors import UserError
from experiments.files import UNFINISHED, check_writable

SILENCE = 10.0
"""Seconds in which a server must say something, or it counts as out of reach."""


def prepare(root: Path, name: str) -> Path:
    """Downloads and prepares a data set.

    What is downloaded whole stays in ``downloads`` below the root, so that the next
    try goes on with the next file; what is not whole does not stay.

    Args:
        root: TFDS's data directory.
        name: of the data set.

    Returns:
        The folder of the prepared set.

    Raises:
        UserError: if that cannot be, within seconds where it is a server's fault.
    """
    missing = f"{name} is not prepared in {root}"
    otherwise = "name a prepared TFDS directory with --data-dir or TFDS_DATA_DIR"
    try:
        check_writable(root)
    except UserError as error:
        raise UserError(f"{missing} and cannot be ({error}): {otherwise}") from error
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"{missing} and preparing it needs TensorFlow: pip install tensorflow,"
            f" or {otherwise}"
        )
    import tensorflow_datasets as tfds

    import experiments.data.tiny_imagenet  # noqa: F401, which registers its builder

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()  # It would flood a log.
    kind = tfds.builder_cls(name)
    prepared = root / name / str(kind.VERSION)
    if prepared.exists():  # TFDS would take it for whole.
        raise UserError(
            f"{prepared} is half of {name}, without dataset_info.json: remove it to"
            f" have it prepared anew, or {otherwise}"
        )
    folder = root / "downloads" / name
    for address, info in kind.url_infos.items():
        try:
            _download(address, folder / info.filename, int(info.size), info.checksum)
        except (OSError, http.client.HTTPException) as error:
            raise UserError(
                f"{missing} and cannot be downloaded ({address}:"
                f" {_in_words(error)}): try again, or {otherwise}"
            ) from error
    try:
        # Of its own and for once: TFDS takes what is there, by the file's name alone.
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder) as extracted:
            tfds.builder(
                name, data_dir=root, file_format="array_record"
            ).download_and_prepare(
                download_dir=folder,
                download_config=tfds.download.DownloadConfig(
                    manual_dir=folder,
                    extract_dir=extracted,
                    try_download_gcs=False,
                    force_checksums_validation=True,
                ),
            )
    except Exception as error:
        raise UserError(
            f"{missing} and preparing it failed ({_in_words(error)}): {otherwise}"
        ) from error
    return prepared


def _download(address: str, file: Path, size: int, wanted: str) -> None:
    """Downloads a file, whole or not at all, unless it is there.

    Raises:
        OSError: if it cannot be read or written, or is not what it should be.
        http.client.HTTPException: if the server does not keep to its protocol.
    """
    if file.is_file() and checksum(file) == wanted:
        return
    with urllib.request.urlopen(address, timeout=SILENCE) as response:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=file.parent) as scratch:
            unfinished = Path(scratch) / file.name
            console = Console(stderr=True)
            with (
                unfinished.open("wb") as written,
                wrap_file(
                    response,
                    size,
                    description=f"{file.parent.name}: {file.name}",
                    console=console,
                    disable=not console.is_terminal,  # It would flood a log.
                    transient=True,
                ) as read,
            ):
                # No more than it should be, or a wrong one might fill the disk.
                while written.tell() <= size and (block := read.read(2**16)):
                    written.write(block)
            found = unfinished.stat().st_size
            if found < size:
                raise OSError(f"the connection ended after {found} of {size} bytes")
            if checksum(unfinished) != wanted:
                raise OSError("the file is another one, by its checksum")
            os.replace(unfinished, file)


def _in_words(error: Exception) -> str:
    """One line."""
    if type(error) is urllib.error.URLError:  # Which only wraps what there is to say.
        return str(error.reason)
    return " ".join(str(error).split()) or repr(error)

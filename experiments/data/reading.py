"""Reads data sets: bundled with scikit-learn, or through TFDS.

TFDS sets are read without TensorFlow and decoded once into plain arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
import importlib.util
import logging
import os
from pathlib import Path
import sys
import tempfile
from typing import Any
import urllib.error
import urllib.request

import numpy as np

from experiments.data.dataset import Dataset
from experiments.data.sources import SOURCES, Source
from experiments.errors import UserError
from experiments.files import cache_folder

REACHABLE_SECONDS = 5.0
"""How long a server may take to answer before it counts as out of reach."""


def load_dataset(name: str, data_dir: str | None = None) -> Dataset:
    """Loads a data set.

    Args:
        name: in :data:`SOURCES`.
        data_dir: TFDS's data directory; by default ``TFDS_DATA_DIR`` or else
            TFDS's own default.

    Raises:
        UserError: if the set is neither prepared there nor can be.
    """
    source = SOURCES[name]
    if name == "bits":
        none = np.empty((0, *source.shape), np.uint8), np.empty(0, np.int32)
        return Dataset(source, *none, *none)
    if source.download is None:
        return Dataset(source, **_digits())
    root = Path(
        data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    ).expanduser()
    prepared = _prepared(root, name) or _prepare(root, name, source.download)
    return Dataset(source, **_cached(prepared, name, source))


def _digits() -> Mapping[str, np.ndarray]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = data.images[..., None].astype(np.uint8)
    train, test = train_test_split(
        np.arange(len(images)), test_size=0.2, stratify=data.target, random_state=0
    )
    labels = data.target.astype(np.int32)
    return {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
    }


def _prepared(root: Path, name: str) -> Path | None:
    """Folder of the newest version that TFDS has prepared."""

    def version(folder: Path) -> tuple[int, ...]:
        return tuple(int(part) for part in folder.name.split(".") if part.isdigit())

    folders = [info.parent for info in root.glob(f"{name}/*/dataset_info.json")]
    return max(folders, key=version, default=None)


def _prepare(root: Path, name: str, address: str) -> Path:
    """Downloads and prepares a data set; fails in seconds where that can't be."""
    missing = f"{name} is not prepared in {root}"
    otherwise = "name a prepared TFDS directory with --data-dir or TFDS_DATA_DIR"
    try:
        urllib.request.urlopen(address, timeout=REACHABLE_SECONDS).close()
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{missing} and cannot be downloaded ({reason}): {otherwise}"
        ) from None
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"{missing} and preparing it needs TensorFlow: pip install tensorflow,"
            f" or {otherwise}"
        )
    import tensorflow_datasets as tfds

    import experiments.data.tiny_imagenet  # noqa: F401, which registers its builder

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()  # It would flood a log.
    try:
        builder = tfds.builder(name, data_dir=root, file_format="array_record")
        builder.download_and_prepare()
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error) else repr(error)
        raise UserError(
            f"{missing} and preparing it failed ({reason}): {otherwise}"
        ) from error
    return Path(builder.data_dir)


def _cached(prepared: Path, name: str, source: Source) -> Mapping[str, np.ndarray]:
    """Decoded arrays of a prepared set, from the cache if they are there."""
    info = (prepared / "dataset_info.json").read_bytes()
    digest = hashlib.sha256(info).hexdigest()[:12]
    folder = cache_folder() / f"{name}-{prepared.name}-{digest}"
    if folder.is_dir():
        return {
            file.stem: np.load(file, allow_pickle=False)
            for file in sorted(folder.glob("*.npy"))
        }
    print(f"decoding {name} once, into {folder}", file=sys.stderr)
    arrays = _decode(prepared, source)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            complete = Path(scratch) / "complete"
            complete.mkdir()
            for part, array in arrays.items():
                np.save(complete / f"{part}.npy", array)
            # Other runs see the whole cache or none of it.
            complete.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # Else another run was faster.
            print(f"{name} stays uncached: {error}", file=sys.stderr)
    return arrays


def _decode(prepared: Path, source: Source) -> dict[str, np.ndarray]:
    import tensorflow_datasets as tfds

    # Or it recommends OpenCV, which saves seconds, once.
    logging.getLogger("absl").setLevel(logging.ERROR)
    arrays: dict[str, Any] = {}
    try:
        builder = tfds.builder_from_directory(prepared)
        for part, split in zip(("train", "test"), source.splits, strict=True):
            examples = list(builder.as_data_source(split))
            arrays[f"{part}_images"] = np.stack([e["image"] for e in examples])
            arrays[f"{part}_labels"] = np.array(
                [e["label"] for e in examples], np.int32
            )
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error) else repr(error)
        raise UserError(
            f"{prepared} cannot be read ({reason}): prepare it again with"
            " file_format='array_record'"
        ) from error
    return arrays

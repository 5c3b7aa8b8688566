"""Reads data sets: bundled with scikit-learn, or through TFDS.

TFDS sets are read without TensorFlow and decoded once into plain arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import hashlib
import logging
import os
from pathlib import Path
import re
from typing import Any

import numpy as np

from experiments.data.cache import Arrays, cached
from experiments.data.dataset import Dataset
from experiments.data.preparing import prepare
from experiments.data.sources import SOURCES, Source
from experiments.errors import UserError
from experiments.files import cache_folder


def load_dataset(name: str, data_dir: str | None = None) -> Dataset:
    """Loads a data set.

    Args:
        name: in :data:`SOURCES`.
        data_dir: TFDS's data directory; by default ``TFDS_DATA_DIR`` or else
            TFDS's own default.

    Raises:
        UserError: if the set is neither prepared there nor can be, or is damaged.
    """
    source = SOURCES[name]
    if name == "bits":
        none = np.empty((0, *source.shape), np.uint8), np.empty(0, np.int32)
        return Dataset(source, *none, *none)
    if source.bundled:
        return Dataset(source, **_digits())
    if data_dir is None:
        data_dir = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    elif not data_dir:  # As a variable that is not set leaves it.
        raise UserError("--data-dir must name a folder: leave it out for the default")
    root = Path(os.path.expanduser(data_dir))
    prepared = _prepared(root, name) or prepare(root, name)
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
    """Folder of the newest version that TFDS has prepared.

    Raises:
        UserError: if it cannot be looked for.
    """

    def version(folder: Path) -> tuple[int, ...]:
        return tuple(int(part) for part in folder.name.split("."))

    try:
        folders = [
            folder
            for folder in (root / name).iterdir()
            # What TFDS has not finished has another name.
            if re.fullmatch(r"\d+\.\d+\.\d+", folder.name)
            and (folder / "dataset_info.json").exists()
        ]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from None
    except ValueError as error:  # A path that no system takes.
        raise UserError(f"--data-dir {str(root)!r} is no path: {error}") from None
    return max(folders, key=version, default=None)


def _cached(prepared: Path, name: str, source: Source) -> Arrays:
    """Decoded arrays of a prepared set, from the cache if they are there."""
    try:
        info = (prepared / "dataset_info.json").read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from None
    digest = hashlib.sha256(info).hexdigest()[:12]
    caches = cache_folder()
    folder = caches and caches / f"{name}-{prepared.name}-{digest}"
    return cached(folder, name, lambda: _decode(prepared, name, source))


def _decode(prepared: Path, name: str, source: Source) -> Arrays:
    """All images and labels.

    Raises:
        UserError: if they cannot be read, or are not the data set's.
    """
    import tensorflow_datasets as tfds

    # Or it recommends OpenCV, which saves seconds, once.
    logging.getLogger("absl").setLevel(logging.ERROR)
    arrays: dict[str, np.ndarray] = {}
    again = "prepare it again with file_format='array_record'"
    try:
        builder = tfds.builder_from_directory(prepared)
        for part, split in zip(("train", "test"), source.splits, strict=True):
            examples = list(builder.as_data_source(split))
            images, labels = ([e[key] for e in examples] for key in ("image", "label"))
            wrong = _misfit(images, labels, builder.info.splits[split], source)
            if wrong:
                raise UserError(f"{prepared} is no whole {name} ({wrong}): {again}")
            arrays[f"{part}_images"] = np.stack(images)
            arrays[f"{part}_labels"] = np.array(labels, np.int32)
    except UserError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error) else repr(error)
        raise UserError(f"{prepared} cannot be read ({reason}): {again}") from error
    return arrays


def _misfit(
    images: Sequence[np.ndarray], labels: Sequence[Any], split: Any, source: Source
) -> str:
    """What is wrong with a split, or nothing."""
    if len(images) != split.num_examples or not images:
        return f"{split.name} has {len(images)} of {split.num_examples} images"
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        if image.shape != source.shape or image.dtype != np.uint8:
            found, wanted = ("×".join(map(str, s)) for s in (image.shape, source.shape))
            return f"image {i} of {split.name} is {found} {image.dtype}, not {wanted}"
        if not 0 <= label < source.classes:
            return (
                f"label {i} of {split.name} is {label}, not from 0 to"
                f" {source.classes - 1}"
            )
    return ""

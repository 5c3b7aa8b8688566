"""Images and labels: bundled with scikit-learn, or read through TFDS.

TFDS sets are read without TensorFlow and decoded once into plain arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
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

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cache import cache_folder
from experiments.errors import UserError

REACHABLE_SECONDS = 5.0
"""How long a server may take to answer before it counts as out of reach."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a data set comes from and how its pixels are normalised.

    Attributes:
        shape: height, width and channels of an image.
        classes: number of labels.
        white: the pixel value that becomes 1.
        mean: of the pixels in [0, 1], for each channel.
        std: standard deviation of the same.
        download: an address that answers if TFDS can download the set; None for
            a set that is bundled with a package.
        splits: TFDS's names of the training and the test split.
    """

    shape: tuple[int, int, int]
    classes: int
    white: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    download: str | None = None
    splits: tuple[str, str] = ("train", "test")


SOURCES: dict[str, Source] = {
    # Of 1797 scanned digits, 8×8 in 17 shades, a fifth of each class is tested.
    "digits": Source(
        shape=(8, 8, 1), classes=10, white=16, mean=(0.3053,), std=(0.3760,)
    ),
    "mnist": Source(
        shape=(28, 28, 1),
        classes=10,
        white=255,
        mean=(0.1307,),
        std=(0.3081,),
        download="https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz",
    ),
    "fashion_mnist": Source(
        shape=(28, 28, 1),
        classes=10,
        white=255,
        mean=(0.2860,),
        std=(0.3530,),
        download="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
    ),
    "cifar10": Source(
        shape=(32, 32, 3),
        classes=10,
        white=255,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        download="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    ),
    "cifar100": Source(
        shape=(32, 32, 3),
        classes=100,
        white=255,
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
        download="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    ),
    # Prepared by experiments.tiny_imagenet; the public test split has no labels.
    "tiny_imagenet": Source(
        shape=(64, 64, 3),
        classes=200,
        white=255,
        mean=(0.4802, 0.4481, 0.3975),
        std=(0.2770, 0.2691, 0.2821),
        download="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        splits=("train", "validation"),
    ),
}
"""By name; mean and deviation are the paper's or, for digits and fashion_mnist,
which it does not have, those of the training images.  The paper's deviation for
CIFAR-10 is, as is usual, the mean deviation within an image."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Attributes:
        source: what it is.
        train_images: uint8, (examples, height, width, channels).
        train_labels: int32, (examples,).
        test_images: uint8, (examples, height, width, channels).
        test_labels: int32, (examples,).
    """

    source: Source
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    def subset(self, train: int | None, test: int | None) -> Dataset:
        """So many images of each split, the same ones each time; None means all."""

        def some(size: int, wanted: int | None) -> np.ndarray:
            chosen = np.random.default_rng(0).permutation(size)[:wanted]
            return np.sort(chosen)

        training = some(len(self.train_labels), train)
        testing = some(len(self.test_labels), test)
        return dataclasses.replace(
            self,
            train_images=self.train_images[training],
            train_labels=self.train_labels[training],
            test_images=self.test_images[testing],
            test_labels=self.test_labels[testing],
        )

    def held_out(self, fraction: float) -> Dataset:
        """Tests on a part of the training images, and does not train on them."""
        order = np.random.default_rng(1).permutation(len(self.train_labels))
        size = max(1, round(fraction * len(order)))
        held, kept = np.sort(order[:size]), np.sort(order[size:])
        return dataclasses.replace(
            self,
            train_images=self.train_images[kept],
            train_labels=self.train_labels[kept],
            test_images=self.train_images[held],
            test_labels=self.train_labels[held],
        )

    def normalize(self, images: jax.Array) -> jax.Array:
        """Pixels as the network sees them: float32, mean 0, deviation 1."""
        mean = jnp.asarray(self.source.mean, jnp.float32)
        std = jnp.asarray(self.source.std, jnp.float32)
        return (images / jnp.float32(self.source.white) - mean) / std


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

    import experiments.tiny_imagenet  # noqa: F401, which registers its builder

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

"""A data set in memory."""

from __future__ import annotations

import dataclasses
import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data.sources import Source
from experiments.errors import UserError


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

    @property
    def digest(self) -> str:
        """What tells these images and labels from others, in hexadecimal."""
        found = hashlib.sha256()
        for array in (
            *(self.train_images, self.train_labels),
            *(self.test_images, self.test_labels),
        ):
            found.update(f"{array.dtype.str} {array.shape}\n".encode())
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()[:16]

    def subset(self, train: int | None, test: int | None) -> Dataset:
        """So many images of each split, the same ones each time; None means all.

        Raises:
            UserError: if there are not so many.
        """

        def some(name: str, size: int, wanted: int | None) -> np.ndarray:
            if wanted is not None and wanted > size:
                raise UserError(
                    f"{name} {wanted} are more than the {size} that there are: give a"
                    f" smaller --{name.replace('_', '-')}"
                )
            chosen = np.random.default_rng(0).permutation(size)[:wanted]
            return np.sort(chosen)

        training = some("train_images", len(self.train_labels), train)
        testing = some("test_images", len(self.test_labels), test)
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
        return self._tested_on(order[: max(1, round(fraction * len(order)))])

    def held_out_of_each_class(self, fraction: float) -> Dataset:
        """The same, with this part of each class, so that equal ones stay equal."""
        order = np.random.default_rng(1).permutation(len(self.train_labels))
        labels = self.train_labels[order]
        classes = [order[labels == label] for label in np.unique(labels)]
        held = [of[: max(1, round(fraction * len(of)))] for of in classes]
        return self._tested_on(np.concatenate(held))

    def _tested_on(self, held: np.ndarray) -> Dataset:
        """With these of the training images in place of the test images."""
        tested = np.isin(np.arange(len(self.train_labels)), held)
        return dataclasses.replace(
            self,
            train_images=self.train_images[~tested],
            train_labels=self.train_labels[~tested],
            test_images=self.train_images[tested],
            test_labels=self.train_labels[tested],
        )

    def normalize(self, images: jax.Array) -> jax.Array:
        """Pixels as the network sees them: float32, mean 0, deviation 1."""
        mean = jnp.asarray(self.source.mean, jnp.float32)
        std = jnp.asarray(self.source.std, jnp.float32)
        return (images / jnp.float32(self.source.white) - mean) / std

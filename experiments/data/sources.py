"""Which data sets there are, and how their pixels are normalised."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a data set comes from and how its pixels are normalised.

    Attributes:
        shape: height, width and channels of an image.
        classes: number of labels.
        white: the pixel value that becomes 1.
        mean: of the pixels in [0, 1], for each channel.
        std: standard deviation of the same.
        bundled: whether it comes with a package or is made, and not through TFDS.
        splits: TFDS's names of the training and the test split.
    """

    shape: tuple[int, int, int]
    classes: int
    white: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bundled: bool = False
    splits: tuple[str, str] = ("train", "test")


SOURCES: dict[str, Source] = {
    # Of 1797 scanned digits, 8×8 in 17 shades, a fifth of each class is tested.
    "digits": Source(
        shape=(8, 8, 1),
        classes=10,
        white=16,
        mean=(0.3053,),
        std=(0.3760,),
        bundled=True,
    ),
    "mnist": Source(
        shape=(28, 28, 1),
        classes=10,
        white=255,
        mean=(0.1307,),
        std=(0.3081,),
    ),
    "fashion_mnist": Source(
        shape=(28, 28, 1),
        classes=10,
        white=255,
        mean=(0.2860,),
        std=(0.3530,),
    ),
    "cifar10": Source(
        shape=(32, 32, 3),
        classes=10,
        white=255,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
    ),
    "cifar100": Source(
        shape=(32, 32, 3),
        classes=100,
        white=255,
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
    ),
    # Prepared by experiments.data.tiny_imagenet; the public test split has no labels.
    "tiny_imagenet": Source(
        shape=(64, 64, 3),
        classes=200,
        white=255,
        mean=(0.4802, 0.4481, 0.3975),
        std=(0.2770, 0.2691, 0.2821),
        splits=("train", "validation"),
    ),
    # Numbers to be drawn, of which a stream makes its tasks.
    "bits": Source(
        shape=(20, 1, 1), classes=1, white=1, mean=(0.0,), std=(1.0,), bundled=True
    ),
}
"""By name; mean and deviation are the paper's or, for digits and fashion_mnist,
which it does not have, those of the training images.  The paper's deviation for
CIFAR-10 is, as is usual, the mean deviation within an image."""

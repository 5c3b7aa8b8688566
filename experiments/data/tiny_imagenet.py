"""TinyImageNet for TFDS, which does not have it.

Importing this module registers the set, so that ``tfds.builder("tiny_imagenet")``
prepares it; whoever only reads a prepared one needs neither this nor TensorFlow.
Labels are named by WordNet ids, ``info.features["label"].names``; the words for
them are in ``info.metadata["words"]``, and so in ``metadata.json`` beside the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import tensorflow_datasets as tfds

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
"""Whose size and checksum are in ``checksums.tsv``, where TFDS looks for them."""


class TinyImagenet(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
    """Images of 200 ImageNet classes at 64×64: 500 a class, and 50 to validate."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "The training and the validation images."}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=(
                "TinyImageNet: 200 classes of ImageNet at 64×64 pixels, with 500"
                " images of each to train and 50 to validate. The public test"
                " images have no labels and are left out."
            ),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(64, 64, 3), encoding_format="jpeg"
                    ),
                    "label": tfds.features.ClassLabel(num_classes=200),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="http://cs231n.stanford.edu/",
            citation=(
                "Ya Le and Xuan Yang. Tiny ImageNet Visual Recognition Challenge."
                " CS 231N, Stanford University, 2015."
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Iterator[tuple[str, dict[str, Any]]]]:
        archive = dl_manager.download_and_extract(URL)
        root = archive / "tiny-imagenet-200"
        wnids = (root / "wnids.txt").read_text(encoding="utf-8").split()
        self.info.features["label"].names = wnids
        words = dict(_table(root / "words.txt"))
        self.info.metadata["words"] = {wnid: words[wnid] for wnid in wnids}

        train = (
            (path, wnid)
            for wnid in wnids
            for path in (root / "train" / wnid / "images").iterdir()
        )
        validation = (
            (root / "val" / "images" / name, wnid)
            for name, wnid, *_ in _table(root / "val" / "val_annotations.txt")
        )
        return {
            "train": self._generate_examples(train),
            "validation": self._generate_examples(validation),
        }

    def _generate_examples(
        self, labelled: Iterable[tuple[tfds.core.Path, str]]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        # TFDS stores a file that is given by its path as it is.
        for path, wnid in labelled:
            yield path.name, {"image": path, "label": wnid}


def _table(path: tfds.core.Path) -> list[list[str]]:
    """Rows of a tab-separated file."""
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]

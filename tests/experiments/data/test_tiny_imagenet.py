"""The builder of TinyImageNet, on an archive like the public one but smaller."""

import json
import os
from pathlib import Path
import shutil
import tempfile

import pytest
import tensorflow_datasets as tfds

from experiments.data import load_dataset
from experiments.data.tiny_imagenet import TinyImagenet
import served_data
from served_data import VALIDATION, WNIDS, jpeg

PREPARED = Path(os.environ.get("TFDS_DATA_DIR", ""), "tiny_imagenet", "1.0.0")


class TestTinyImagenet(tfds.testing.DatasetBuilderTestCase):
    """What TFDS asks of every builder, checksums included."""

    DATASET_CLASS = TinyImagenet
    SPLITS = {"train": 200, "validation": VALIDATION}  # noqa: RUF012

    @classmethod
    def setUpClass(cls):
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        for name, content in served_data.tiny_imagenet_files(WNIDS).items():
            path = Path(cls.EXAMPLE_DIR) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.EXAMPLE_DIR)


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Prepares the set of some classes from a server on this machine; its folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def prepare(wnids):
        with served_data.serving() as server:
            served = served_data.make("tiny_imagenet", wnids)
            served_data.point("tiny_imagenet", served, server, monkeypatch)
            load_dataset("tiny_imagenet", str(tmp_path / "data"))
        return tmp_path / "data" / "tiny_imagenet" / "1.0.0"

    return prepare


def test_labels_have_their_names_and_images_are_kept_as_they_are(prepare):
    builder = tfds.builder_from_directory(prepare(WNIDS))
    assert builder.info.features["label"].names == WNIDS
    assert builder.info.metadata["words"] == {
        wnid: f"thing {wnid}, stuff" for wnid in WNIDS
    }
    raw = builder.as_data_source(
        "train", decoders={"image": tfds.decode.SkipDecoding()}
    )
    assert {example["image"]: example["label"] for example in raw} == {
        jpeg(k, "RGB" if k % 10 else "L"): k for k in range(200)
    }


@pytest.mark.skipif(not PREPARED.is_dir(), reason="needs the set in TFDS_DATA_DIR")
def test_it_prepares_what_others_have_prepared(prepare):
    """The same features and names, so that either can be read in the other's place."""
    names = (PREPARED / "label.labels.txt").read_text()
    ours = prepare(names.split())
    assert (ours / "label.labels.txt").read_text() == names
    features, expected = (
        json.loads((folder / "features.json").read_text())
        for folder in (ours, PREPARED)
    )
    assert features == expected

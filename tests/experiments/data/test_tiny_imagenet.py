"""The builder of TinyImageNet, on an archive like the public one but smaller."""

import dataclasses
import functools
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
import io
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
import threading

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds

from experiments.data import SOURCES, load_dataset
from experiments.data.tiny_imagenet import TinyImagenet

# Not in alphabetical order, as in the public archive.
WNIDS = [f"n{(7 * k + 3) % 200:08d}" for k in range(200)]
VALIDATION = 30
PREPARED = Path(os.environ.get("TFDS_DATA_DIR", ""), "tiny_imagenet", "1.0.0")


def jpeg(seed, mode="RGB"):
    """A random 64×64 image, smooth so that JPEG keeps it."""
    channels = 3 if mode == "RGB" else 1
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, channels))
    pixels = np.kron(pixels, np.ones((8, 8, 1))).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(), mode).save(file, "JPEG", quality=90)
    return file.getvalue()


def write_archive(folder, wnids):
    """One image a class to train, in grey for every tenth, and 30 to validate."""
    root = Path(folder) / "tiny-imagenet-200"
    for k, wnid in enumerate(wnids):
        images = root / "train" / wnid / "images"
        images.mkdir(parents=True)
        (images / f"{wnid}_0.JPEG").write_bytes(jpeg(k, "RGB" if k % 10 else "L"))
        (images.parent / f"{wnid}_boxes.txt").write_text("")
    (root / "val" / "images").mkdir(parents=True)
    for k in range(VALIDATION):
        (root / "val" / "images" / f"val_{k}.JPEG").write_bytes(jpeg(1000 + k))
    (root / "val" / "val_annotations.txt").write_text(
        "".join(
            f"val_{k}.JPEG\t{wnids[3 * k]}\t0\t0\t63\t63\n" for k in range(VALIDATION)
        )
    )
    (root / "test" / "images").mkdir(parents=True)
    (root / "test" / "images" / "test_0.JPEG").write_bytes(jpeg(2000))
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in wnids))
    (root / "words.txt").write_text(
        "n99999999\tno class of these\n"
        + "".join(f"{wnid}\tthing {wnid}, stuff\n" for wnid in sorted(wnids))
    )


class TestTinyImagenet(tfds.testing.DatasetBuilderTestCase):
    """What TFDS asks of every builder, checksums included."""

    DATASET_CLASS = TinyImagenet
    SPLITS = {"train": 200, "validation": VALIDATION}  # noqa: RUF012

    @classmethod
    def setUpClass(cls):
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        write_archive(cls.EXAMPLE_DIR, WNIDS)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.EXAMPLE_DIR)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Serves archives from this machine instead of the public address."""
    (tmp_path / "www").mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=tmp_path / "www")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever).start()
    address = f"http://127.0.0.1:{server.server_port}/tiny-imagenet-200.zip"
    source = dataclasses.replace(SOURCES["tiny_imagenet"], download=address)
    monkeypatch.setitem(SOURCES, "tiny_imagenet", source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "www"
    server.shutdown()
    server.server_close()


def prepare(served, tmp_path, wnids):
    """In a process of its own, where nothing else has registered the builder."""
    write_archive(tmp_path / "archive", wnids)
    shutil.make_archive(str(served / "tiny-imagenet-200"), "zip", tmp_path / "archive")
    code = (
        "import dataclasses, sys; from experiments.data import *;"
        " source = dataclasses.replace(SOURCES['tiny_imagenet'], download=sys.argv[1]);"
        " SOURCES['tiny_imagenet'] = source; load_dataset('tiny_imagenet', sys.argv[2])"
    )
    address = SOURCES["tiny_imagenet"].download
    command = [sys.executable, "-c", code, address, str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return load_dataset("tiny_imagenet", str(tmp_path / "data"))


def pixels(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def test_it_is_downloaded_prepared_and_loaded(served, tmp_path):
    dataset = prepare(served, tmp_path, WNIDS)
    assert sorted(dataset.train_labels) == list(range(200))
    for label, image in zip(dataset.train_labels, dataset.train_images, strict=True):
        expected = pixels(jpeg(label, "RGB" if label % 10 else "L"))
        np.testing.assert_array_equal(image, expected)
    assert sorted(dataset.test_labels) == list(range(0, 3 * VALIDATION, 3))
    for label, image in zip(dataset.test_labels, dataset.test_images, strict=True):
        np.testing.assert_array_equal(image, pixels(jpeg(1000 + label // 3)))

    builder = tfds.builder("tiny_imagenet", data_dir=tmp_path / "data")
    assert builder.info.features["label"].names == WNIDS
    assert builder.info.metadata["words"] == {
        wnid: f"thing {wnid}, stuff" for wnid in WNIDS
    }
    raw = builder.as_data_source(
        "train", decoders={"image": tfds.decode.SkipDecoding()}
    )
    assert {example["image"] for example in raw} == {
        jpeg(k, "RGB" if k % 10 else "L") for k in range(200)
    }


@pytest.mark.skipif(not PREPARED.is_dir(), reason="needs the set in TFDS_DATA_DIR")
def test_it_prepares_what_others_have_prepared(served, tmp_path):
    """The same features and names, so that either can be read in the other's place."""
    names = (PREPARED / "label.labels.txt").read_text()
    prepare(served, tmp_path, names.split())
    ours = tmp_path / "data" / "tiny_imagenet" / "1.0.0"
    assert (ours / "label.labels.txt").read_text() == names
    features, expected = (
        json.loads((folder / "features.json").read_text())
        for folder in (ours, PREPARED)
    )
    assert features == expected

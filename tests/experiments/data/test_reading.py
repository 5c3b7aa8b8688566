"""Data sets: bundled, prepared by TFDS, and absent."""

import dataclasses
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
import time

from hypothesis import given, settings, strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments.data import SOURCES, Dataset, load_dataset, reading
from experiments.errors import UserError


def prepared(name):
    """Runs a test only where the set is."""
    folder = Path(os.environ.get("TFDS_DATA_DIR", ""), name)
    return pytest.mark.skipif(
        not folder.is_dir(), reason=f"needs {name} in TFDS_DATA_DIR"
    )


def prepared_names(*names):
    return [pytest.param(name, marks=prepared(name)) for name in names]


def check(dataset, tolerance=0.01):
    for part in ("train", "test"):
        images = getattr(dataset, f"{part}_images")
        labels = getattr(dataset, f"{part}_labels")
        assert images.dtype == np.uint8
        assert images.shape[1:] == dataset.source.shape
        assert labels.dtype == np.int32
        assert len(images) == len(labels)
        assert set(labels) == set(range(dataset.source.classes))
    pixels = np.asarray(dataset.normalize(jnp.asarray(dataset.train_images)))
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels.mean((0, 1, 2)), 0, atol=tolerance)
    np.testing.assert_allclose(pixels.std((0, 1, 2)), 1, atol=tolerance)


def test_digits_are_split_alike_every_time():
    dataset = load_dataset("digits")
    check(dataset)
    assert dataset.train_images.shape == (1437, 8, 8, 1)
    assert dataset.test_images.shape == (360, 8, 8, 1)
    np.testing.assert_array_equal(
        dataset.test_labels, load_dataset("digits").test_labels
    )
    # No image is in both, but for true duplicates, of which there are none.
    together = np.concatenate([dataset.train_images, dataset.test_images])
    assert len(np.unique(together, axis=0)) == 1797


def numbered(train=100, test=40):
    """Every image is its own number, and so is its label."""
    return Dataset(
        SOURCES["digits"],
        np.arange(train, dtype=np.uint8).reshape(-1, 1, 1, 1),
        np.arange(train, dtype=np.int32),
        np.arange(test, dtype=np.uint8).reshape(-1, 1, 1, 1),
        np.arange(test, dtype=np.int32),
    )


@given(train=st.none() | st.integers(1, 100), test=st.none() | st.integers(1, 40))
@settings(deadline=None)
def test_a_subset_has_so_many_images_with_their_labels_the_same_each_time(train, test):
    whole = numbered()
    found, again = whole.subset(train, test), whole.subset(train, test)
    for part, wanted, size in (("train", train, 100), ("test", test, 40)):
        labels = getattr(found, f"{part}_labels")
        assert len(labels) == (wanted or size)
        assert (np.diff(labels) > 0).all()
        images = getattr(found, f"{part}_images")
        np.testing.assert_array_equal(images.ravel(), labels)
        np.testing.assert_array_equal(labels, getattr(again, f"{part}_labels"))
    if train and train < 100:  # A larger subset has all of a smaller one.
        larger = whole.subset(train + 1, test).train_labels
        assert set(found.train_labels) < set(larger)


@pytest.mark.parametrize("part", ["train", "test"])
def test_more_images_than_there_are_are_refused(part):
    with pytest.raises(UserError) as error:
        numbered(train=100, test=100).subset(**{"train": 100, "test": 100, part: 101})
    assert str(error.value) == (
        f"{part}_images 101 are more than the 100 that there are: give a smaller"
        f" --{part}-images"
    )


def test_other_images_or_labels_have_another_digest():
    """Also if they are others by one pixel, or in another split."""
    whole = numbered()
    assert whole.digest == numbered().digest
    others = [whole.held_out(0.1), whole.subset(99, None)]
    for part in ("train", "test"):
        for kind in ("images", "labels"):
            array = getattr(whole, f"{part}_{kind}").copy()
            array[3] += 1
            others.append(dataclasses.replace(whole, **{f"{part}_{kind}": array}))
    shape = whole.train_images.reshape(50, 2, 1, 1)
    others.append(dataclasses.replace(whole, train_images=shape))
    assert len({found.digest for found in (whole, *others)}) == len(others) + 1
    view = whole.train_images[::-1][::-1].astype(np.uint8, order="F")
    assert dataclasses.replace(whole, train_images=view).digest == whole.digest


@given(size=st.integers(2, 200), fraction=st.floats(0.01, 0.9))
@settings(deadline=None)
def test_what_is_held_out_is_not_trained_on_and_no_test_image(size, fraction):
    whole = numbered(train=size)
    found = whole.held_out(fraction)
    assert len(found.test_labels) == max(1, round(fraction * size))
    both = np.concatenate([found.train_labels, found.test_labels])
    assert sorted(both) == list(range(size))
    np.testing.assert_array_equal(found.train_images.ravel(), found.train_labels)
    np.testing.assert_array_equal(found.test_images.ravel(), found.test_labels)
    other = dataclasses.replace(whole, test_images=whole.test_images + 1)
    np.testing.assert_array_equal(
        other.held_out(fraction).test_labels, found.test_labels
    )


def test_a_part_of_each_class_can_be_held_out():
    """So that classes of one size stay so, in training and in testing."""
    numbers = numbered(train=120)
    whole = dataclasses.replace(numbers, train_labels=numbers.train_labels % 3)
    found = whole.held_out_of_each_class(0.1)
    assert list(np.bincount(found.test_labels)) == [4, 4, 4]
    assert list(np.bincount(found.train_labels)) == [36, 36, 36]
    both = np.concatenate([found.train_images, found.test_images]).ravel()
    assert sorted(both) == list(range(120))
    for part in ("train", "test"):
        images, labels = (getattr(found, f"{part}_{x}") for x in ("images", "labels"))
        np.testing.assert_array_equal(images.ravel() % 3, labels)


@prepared("mnist")
def test_mnist_is_decoded_once_and_then_loads_in_under_a_second(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    decoded = load_dataset("mnist")
    check(decoded)
    assert decoded.train_images.shape == (60000, 28, 28, 1)
    assert decoded.test_images.shape == (10000, 28, 28, 1)
    start = time.perf_counter()
    cached = load_dataset("mnist")
    assert time.perf_counter() - start < 1
    np.testing.assert_array_equal(cached.train_images, decoded.train_images)
    np.testing.assert_array_equal(cached.test_labels, decoded.test_labels)
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "checksums.json",
        *(
            f"{part}_{kind}.npy"
            for part in ("train", "test")
            for kind in ("images", "labels")
        ),
    }


@pytest.mark.parametrize("name", prepared_names("cifar100", "tiny_imagenet"))
def test_images_in_colour_are_read(name, tmp_path, monkeypatch):
    """Grey ones among them too; what is prepared may be a sample."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    check(load_dataset(name), tolerance=0.03)


@pytest.mark.parametrize(
    "name", prepared_names("mnist", "cifar10", "cifar100", "tiny_imagenet")
)
def test_the_table_agrees_with_what_is_prepared(name):
    root = Path(os.environ["TFDS_DATA_DIR"])
    info = tfds.builder_from_directory(reading._prepared(root, name)).info
    source = SOURCES[name]
    assert info.features["image"].shape == source.shape
    assert info.features["label"].num_classes == source.classes
    assert set(info.splits) == set(source.splits)


@prepared("tiny_imagenet")
def test_reading_needs_no_tensorflow(tmp_path):
    code = (
        "import sys; from experiments.data import load_dataset;"
        " load_dataset('tiny_imagenet'); print('tensorflow' in sys.modules)"
    )
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr


@prepared("cifar100")
def test_the_cache_belongs_to_the_data_not_to_their_place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = Path(os.environ["TFDS_DATA_DIR"]) / "cifar100"
    shutil.copytree(source, tmp_path / "copy" / "cifar100")
    decoded = load_dataset("cifar100", str(tmp_path / "copy"))
    shutil.rmtree(tmp_path / "copy" / "cifar100" / "3.0.2")
    shutil.copytree(source, tmp_path / "moved" / "cifar100")
    for record in (tmp_path / "moved").rglob("*array_record*"):
        record.chmod(0o600)
        record.unlink()  # Only the cache can answer now.
    found = load_dataset("cifar100", str(tmp_path / "moved"))
    np.testing.assert_array_equal(found.test_images, decoded.test_images)


@prepared("cifar100")
def test_data_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(
        Path(os.environ["TFDS_DATA_DIR"]) / "cifar100", tmp_path / "cifar100"
    )
    for record in tmp_path.rglob("*train.array_record*"):
        record.chmod(0o600)
        record.write_bytes(b"not a record")
    with pytest.raises(UserError, match=r"cifar100/3\.0\.2 cannot be read \(") as error:
        load_dataset("cifar100", str(tmp_path))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "cache").exists()


def copied(tmp_path, monkeypatch):
    """A prepared set that may be damaged; its folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = Path(os.environ["TFDS_DATA_DIR"]) / "cifar100"
    shutil.copytree(source, tmp_path / "data" / "cifar100")
    for path in (tmp_path / "data").rglob("*"):
        path.chmod(0o700)
    return next((tmp_path / "data" / "cifar100").iterdir())


def refused(folder):
    """What is said of a prepared set, in one line."""
    with pytest.raises(UserError) as error:
        load_dataset("cifar100", str(folder.parents[1]))
    assert "\n" not in str(error.value)
    return str(error.value)


AGAIN = "prepare it again with file_format='array_record'"


@prepared("cifar100")
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"shape": (28, 28, 1)},
            "image 0 of train is 32×32×3 uint8, not 28×28×1",
        ),
        ({"classes": 1}, "label 0 of train is "),
    ],
)
def test_data_of_another_kind_are_named(fields, reason, tmp_path, monkeypatch):
    folder = copied(tmp_path, monkeypatch)
    source = dataclasses.replace(SOURCES["cifar100"], **fields)
    monkeypatch.setitem(SOURCES, "cifar100", source)
    said = refused(folder)
    assert said.startswith(f"{folder} is no whole cifar100 ({reason}")
    assert said.endswith(AGAIN)
    assert not (tmp_path / "cache").exists()


@prepared("cifar100")
def test_fewer_images_than_were_prepared_are_named(tmp_path, monkeypatch):
    folder = copied(tmp_path, monkeypatch)
    path = folder / "dataset_info.json"
    info = json.loads(path.read_text())
    (split,) = [split for split in info["splits"] if split["name"] == "train"]
    lengths = [int(length) + 7 for length in split["shardLengths"]]
    split["shardLengths"] = list(map(str, lengths))
    path.write_text(json.dumps(info))
    assert str(folder) in refused(folder)


@prepared("cifar100")
@pytest.mark.parametrize("length", [0, 100, 10**5, None])
def test_half_of_a_download_is_named(length, tmp_path, monkeypatch):
    folder = copied(tmp_path, monkeypatch)
    (record,) = folder.glob("*test.array_record*")
    if length is None:
        record.unlink()
    else:
        os.truncate(record, length)
    assert f"{folder} " in refused(folder)


@prepared("cifar100")
def test_a_broken_description_is_named(tmp_path, monkeypatch):
    folder = copied(tmp_path, monkeypatch)
    (folder / "dataset_info.json").write_text("{")
    assert refused(folder).startswith(f"{folder} cannot be read (")


@prepared("cifar100")
def test_what_may_not_be_read_is_named(monkeypatch):
    """Also to root, as the user that the system calls nobody."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o755)
        folder = copied(Path(place), monkeypatch)
        nobody = 65534
        user = os.geteuid()
        for locked in (folder.parent, folder / "dataset_info.json"):
            (folder.parent).chmod(0o755)
            folder.chmod(0o755)
            (Path(place) / "data").chmod(0o755)
            locked.chmod(0)
            try:
                if user == 0:
                    os.seteuid(nobody)
                assert refused(folder) == f"cannot read {locked}: Permission denied"
            finally:
                os.seteuid(user)
            locked.chmod(0o755)


def test_no_path_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--data-dir 'a\\x00b' is no path: "):
        load_dataset("mnist", "a\0b")
    (tmp_path / "mnist").write_text("a file")
    with pytest.raises(UserError, match=r"cannot read .*/mnist: Not a directory"):
        load_dataset("mnist", str(tmp_path))


def test_the_newest_version_counts(tmp_path):
    for version in ("3.0.1", "3.0.10", "2.9.0"):
        folder = tmp_path / "mnist" / version
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
    (tmp_path / "mnist" / "9.9.9").mkdir()  # Without the file it is unfinished.
    # Killed between the last file and the new name.
    unfinished = tmp_path / "mnist" / "incomplete.ABCDEF_9.9.9"
    unfinished.mkdir()
    (unfinished / "dataset_info.json").write_text("{}")
    assert reading._prepared(tmp_path, "mnist").name == "3.0.10"
    assert reading._prepared(tmp_path, "cifar10") is None

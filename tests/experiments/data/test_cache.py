"""Decoded arrays that are damaged between two runs."""

import functools
import json
import os
import shutil

from hypothesis import given, strategies as st
import numpy as np
import pytest

from experiments.data import cache
import mutations

ARRAYS = {
    "train_images": np.arange(48, dtype=np.uint8).reshape(3, 4, 4, 1),
    "train_labels": np.arange(3, dtype=np.int32),
    "test_images": np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1),
    "test_labels": np.arange(2, dtype=np.int32),
}
FILES = [*(f"{name}.npy" for name in ARRAYS), "checksums.json"]


def load(folder, capsys):
    """The arrays are right, whatever has happened; what was said, and whether decoded.

    A second run finds them.
    """
    decoded = []

    def decode():
        decoded.append(True)
        return ARRAYS

    for _ in range(2):
        found = cache.cached(folder, "digits", decode)
        assert set(found) == set(ARRAYS)
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    assert len(decoded) <= 1
    return capsys.readouterr().err.splitlines()


def test_it_is_decoded_once(tmp_path, capsys):
    folder = tmp_path / "below" / "digits"
    assert load(folder, capsys) == [f"decoding digits once, into {folder}"]
    assert load(folder, capsys) == []
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert os.listdir(folder.parent) == ["digits"]


DAMAGES = {
    "empty": lambda file: file.write_bytes(b""),
    "half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "overwritten": lambda file: file.write_bytes(
        file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1])
    ),
    "of another": lambda file: np.save(file, np.zeros(3)),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "missing": lambda file: file.unlink(),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_decoded_anew(damage, file, tmp_path, capsys):
    folder = tmp_path / "digits"
    load(folder, capsys)
    if file == "checksums.json" and damage == "of another":
        (folder / file).write_text('{"train_images.npy": "0"}')
    else:
        DAMAGES[damage](folder / file)
    (line,) = load(folder, capsys)
    assert line.startswith(f"{folder} is damaged (")
    assert line.endswith("): decoding digits anew")
    assert load(folder, capsys) == []
    assert os.listdir(tmp_path) == ["digits"]


def test_a_file_in_its_place_is_replaced(tmp_path, capsys):
    (tmp_path / "digits").write_text("a file")
    (line,) = load(tmp_path / "digits", capsys)
    assert line.endswith("(Not a directory): decoding digits anew")
    assert load(tmp_path / "digits", capsys) == []


def test_where_nothing_can_be_kept_it_goes_on(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file" / "digits", None):
        found = cache.cached(folder, "digits", lambda: ARRAYS)
        assert found is ARRAYS
        assert "stays uncached" in capsys.readouterr().err


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder and the files in it."""
    folder = tmp_path_factory.mktemp("whole") / "digits"
    cache.replace(folder, ARRAYS)
    return folder, {name: (folder / name).read_bytes() for name in FILES}


@given(data=st.data())
@mutations.tries(60)
def test_mutated_files_are_found_and_replaced(whole, data):
    """Whatever happens to them, the arrays are right, and right in the next run too."""
    folder, files = whole
    name = data.draw(st.sampled_from(FILES))
    change = mutations.content(files[name])
    if name == cache.CHECKSUMS:
        change |= mutations.document(json.loads(files[name]))
        change |= st.just(b"[" * 10**5)
    (folder / name).write_bytes(data.draw(change))
    for decode in (lambda: ARRAYS, functools.partial(pytest.fail, "decoded")):
        found = cache.cached(folder, "digits", decode)
        assert set(found) == set(ARRAYS)
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype


def test_another_run_may_be_faster(tmp_path, capsys):
    """What it has written stays; what is damaged is replaced in its place."""
    folder = tmp_path / "digits"
    cache.replace(folder, ARRAYS)
    before = folder.stat().st_ino
    cache.cached(folder, "digits", functools.partial(pytest.fail, "decoded"))
    cache.replace(folder, ARRAYS)
    assert folder.stat().st_ino == before
    shutil.rmtree(folder)
    folder.mkdir()
    assert load(folder, capsys) == [
        f"{folder} is damaged (checksums.json is missing): decoding digits anew"
    ]

"""Downloads of every data set from a server on this machine, which may fail."""

import os
from pathlib import Path
import sys
import tempfile
import time
import urllib.request

import pytest
from tensorflow_datasets.core import registered

from experiments.__main__ import main
from experiments.data import load_dataset, preparing
from experiments.errors import UserError
import served_data

NAMES = ("mnist", "fashion_mnist", "cifar10", "cifar100", "tiny_imagenet")
LAST = {  # A file that comes after others, where there are several.
    "mnist": "t10k-labels-idx1-ubyte.gz",
    "fashion_mnist": "t10k-labels-idx1-ubyte.gz",
    "cifar10": "cifar-10-binary.tar.gz",
    "cifar100": "cifar-100-binary.tar.gz",
    "tiny_imagenet": "tiny-imagenet-200.zip",
}


@pytest.fixture(scope="module")
def made():
    return {name: served_data.make(name) for name in NAMES}


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(preparing, "SILENCE", 0.3)
    with served_data.serving() as server:
        yield server


def in_order(images, labels):
    """Images with their labels, whatever the order that TFDS shuffles them into."""
    return sorted(
        (image.tobytes(), int(label))
        for image, label in zip(images, labels, strict=True)
    )


def check(name, root, served):
    """The set is read, and is what was served."""
    dataset = load_dataset(name, str(root))
    for part in ("train", "test"):
        found = getattr(dataset, f"{part}_images"), getattr(dataset, f"{part}_labels")
        assert in_order(*found) == in_order(*getattr(served, part))


def refused(name, root):
    """What is said in one line."""
    with pytest.raises(UserError) as error:
        load_dataset(name, str(root))
    assert "\n" not in str(error.value)
    return str(error.value)


def left(root):
    """Files, but those of what is prepared."""
    return {path.name for path in root.rglob("*") if path.is_file()}


OTHERWISE = "name a prepared TFDS directory with --data-dir or TFDS_DATA_DIR"


def not_downloaded(name, root, server, reason):
    return (
        f"{name} is not prepared in {root} and cannot be downloaded"
        f" ({server.address}{LAST[name]}: {reason}): try again, or {OTHERWISE}"
    )


@pytest.mark.parametrize("name", NAMES)
def test_after_an_interruption_the_same_call_prepares_it(
    name, made, server, monkeypatch, tmp_path, capfd
):
    served, last, root = made[name], LAST[name], tmp_path / "data"
    served_data.point(name, served, server, monkeypatch)
    server.manners[last] = "cut"
    size = len(served.files[last])
    reason = f"the connection ended after {size // 2} of {size} bytes"
    assert refused(name, root) == not_downloaded(name, root, server, reason)
    assert left(root) == set(served.files) - {last}
    assert capfd.readouterr() == ("", "")

    server.manners.clear()
    server.asked.clear()
    # Killed as it was prepared.
    version = {"tiny_imagenet": "1.0.0"}.get(name, "3.0.1" if "m" in name else "3.0.2")
    half = root / name / f"incomplete.ABCDEF_{version}"
    half.mkdir(parents=True)
    (half / "dataset_info.json").write_text("{}")
    check(name, root, served)
    assert server.asked == [last]  # What is there whole is not asked for again.
    check(name, root, served)
    assert server.asked == [last]
    assert {path.name for path in (root / name).iterdir()} == {version, half.name}
    assert set(os.listdir(root / "downloads" / name)) == set(served.files)


FAULTS = {
    "in the middle it stalls": ("stalls", "timed out"),
    "it is silent": ("silent", "timed out"),
    "not found": (404, "HTTP Error 404: Not Found"),
    "overloaded": (503, "HTTP Error 503: Service Unavailable"),
    "nonsense": ("nonsense", "nonsense"),
    "another": (bytes, "the file is another one, by its checksum"),
    # Of which no more is read than there should be.
    "longer": (
        lambda size: bytes(size + 10**7),
        "the file is another one, by its checksum",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_server_is_named_at_once(
    fault, made, server, monkeypatch, tmp_path, capfd
):
    manner, reason = FAULTS[fault]
    served, last = made["mnist"], LAST["mnist"]
    served_data.point("mnist", served, server, monkeypatch)
    if callable(manner):
        server.files[last] = manner(len(served.files[last]))
    else:
        server.manners[last] = manner
    start = time.perf_counter()
    said = refused("mnist", tmp_path)
    assert time.perf_counter() - start < 3
    assert said == not_downloaded("mnist", tmp_path, server, reason)
    assert left(tmp_path) == set(served.files) - {last}
    assert capfd.readouterr() == ("", "")


def test_a_damaged_download_is_made_again(made, server, monkeypatch, tmp_path):
    served = made["cifar10"]
    served_data.point("cifar10", served, server, monkeypatch)
    file = tmp_path / "downloads" / "cifar10" / LAST["cifar10"]
    file.parent.mkdir(parents=True)
    file.write_bytes(served.files[file.name][:-1])
    check("cifar10", tmp_path, served)
    assert file.read_bytes() == served.files[file.name]


def test_a_server_out_of_reach_is_named(made, monkeypatch, tmp_path):
    with served_data.serving() as server:
        served_data.point("mnist", made["mnist"], server, monkeypatch)
    assert "cannot be downloaded (http" in (said := refused("mnist", tmp_path))
    assert said.endswith(
        f": [Errno 111] Connection refused): try again, or {OTHERWISE}"
    )
    assert not list(tmp_path.iterdir())


def test_what_tfds_cannot_prepare_is_named(made, server, monkeypatch, tmp_path):
    """Here a right checksum of what is no archive."""
    broken = made["cifar100"]._replace(files={LAST["cifar100"]: b"no archive"})
    served_data.point("cifar100", broken, server, monkeypatch)
    said = refused("cifar100", tmp_path)
    assert said.startswith(
        f"cifar100 is not prepared in {tmp_path} and preparing it failed (Error while"
        " extracting "
    )
    assert said.endswith(f": {OTHERWISE}")
    assert left(tmp_path) == set(broken.files)


def test_without_tensorflow_nothing_is_downloaded(made, server, monkeypatch, tmp_path):
    served_data.point("mnist", made["mnist"], server, monkeypatch)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert refused("mnist", tmp_path) == (
        f"mnist is not prepared in {tmp_path} and preparing it needs TensorFlow: pip"
        f" install tensorflow, or {OTHERWISE}"
    )
    assert server.asked == []


def test_half_of_a_prepared_set_is_named(made, server, monkeypatch, tmp_path):
    served_data.point("mnist", made["mnist"], server, monkeypatch)
    half = tmp_path / "mnist" / "3.0.1"
    half.mkdir(parents=True)
    assert refused("mnist", tmp_path) == (
        f"{half} is half of mnist, without dataset_info.json: remove it to have it"
        f" prepared anew, or {OTHERWISE}"
    )
    assert server.asked == []


def test_where_nothing_may_be_written_it_is_said(made, server, monkeypatch, tmp_path):
    """Also to root, as the user that the system calls nobody."""
    served_data.point("mnist", made["mnist"], server, monkeypatch)
    (tmp_path / "file").write_text("a file")
    assert refused("mnist", tmp_path / "file") == (
        f"cannot read {tmp_path}/file/mnist: Not a directory"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o555)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            said = refused("mnist", place)
        finally:
            os.seteuid(user)
        assert f"cannot be (cannot write to {place}: Permission denied)" in said
    assert server.asked == []


def test_the_command_says_one_line(server, monkeypatch, tmp_path, capfd):
    """Of the real address, for which the server stands in as a proxy.

    Nothing but the command has registered the builder.
    """
    monkeypatch.delitem(sys.modules, "experiments.data.tiny_imagenet")
    monkeypatch.delitem(registered._DATASET_REGISTRY, "tiny_imagenet")
    monkeypatch.setattr(urllib.request, "_opener", None)  # It has read the environment.
    monkeypatch.setenv("http_proxy", server.address)
    monkeypatch.setenv("no_proxy", "")
    server.files[LAST["tiny_imagenet"]] = b"short"
    arguments = ["single-task", "--dataset", "tiny_imagenet", "--model", "cnn"]
    folders = ["--data-dir", f"{tmp_path}/data", "--out", f"{tmp_path}/out"]
    assert main([*arguments, *folders]) == 2
    assert capfd.readouterr() == (
        "",
        f"swr-experiments: tiny_imagenet is not prepared in {tmp_path}/data and cannot"
        " be downloaded (http://cs231n.stanford.edu/tiny-imagenet-200.zip: the"
        f" connection ended after 5 of 248100043 bytes): try again, or {OTHERWISE}\n",
    )
    assert not (tmp_path / "out").exists()

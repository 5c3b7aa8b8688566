"""Data sets as their servers have them but smaller, and a server that has manners."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import io
from pathlib import Path
import tarfile
import threading
from typing import NamedTuple
import zipfile

import numpy as np
from PIL import Image
from tensorflow_datasets.core.download.checksums import UrlInfo
from tensorflow_datasets.image_classification import cifar, mnist

from experiments.data import SOURCES, tiny_imagenet

# Not in alphabetical order, as in the public archive.
WNIDS = [f"n{(7 * k + 3) % 200:08d}" for k in range(200)]
VALIDATION = 30
TRAIN, TEST = 20, 10
"""Images of the others."""


class Split(NamedTuple):
    """What a right reader finds, in the order of the files."""

    images: np.ndarray
    labels: np.ndarray


class Served(NamedTuple):
    """A data set's files by their names, and what is in them."""

    files: dict[str, bytes]
    train: Split
    test: Split


def make(name, wnids=WNIDS):
    """A data set's files, of random images; TinyImageNet's of these classes."""
    if name == "tiny_imagenet":
        return _tiny_imagenet(wnids)
    source = SOURCES[name]
    generator = np.random.default_rng(sum(name.encode()))
    train, test = (
        Split(
            generator.integers(0, 256, (size, *source.shape), np.uint8),
            (np.arange(size) * 7 % source.classes).astype(np.uint8),
        )
        for size in (TRAIN, TEST)
    )
    files = _idx(train, test) if "mnist" in name else _cifar(name, train, test)
    return Served(files, train, test)


def _idx(train, test):
    def idx(array):
        head = np.array([2048 + array.ndim, *array.shape], ">i4").tobytes()
        return gzip.compress(head + array.tobytes(), mtime=0)

    files = {}
    for prefix, split in (("train", train), ("t10k", test)):
        files[f"{prefix}-images-idx3-ubyte.gz"] = idx(split.images[..., 0])
        files[f"{prefix}-labels-idx1-ubyte.gz"] = idx(split.labels)
    return files


def _cifar(name, train, test):
    def records(split, part=slice(None)):
        coarse = [] if name == "cifar10" else [split.labels // 5]
        rows = split.images.transpose(0, 3, 1, 2).reshape(len(split.labels), -1)
        columns = [*coarse, split.labels, rows]
        return np.column_stack(columns)[part].astype(np.uint8).tobytes()

    def names(count):
        return "".join(f"thing {k}\n" for k in range(count)).encode() + b"\n"

    if name == "cifar10":
        folder, archive = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"
        each = TRAIN // 5
        files = {
            f"data_batch_{k + 1}.bin": records(train, slice(k * each, (k + 1) * each))
            for k in range(5)
        } | {"test_batch.bin": records(test), "batches.meta.txt": names(10)}
    else:
        folder, archive = "cifar-100-binary", "cifar-100-binary.tar.gz"
        files = {
            "train.bin": records(train),
            "test.bin": records(test),
            "coarse_label_names.txt": names(20),
            "fine_label_names.txt": names(100),
        }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for file, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{file}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return {archive: packed.getvalue()}


def jpeg(seed, mode="RGB"):
    """A random 64×64 image, smooth so that JPEG keeps it."""
    channels = 3 if mode == "RGB" else 1
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, channels))
    pixels = np.kron(pixels, np.ones((8, 8, 1))).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(), mode).save(file, "JPEG", quality=90)
    return file.getvalue()


def tiny_imagenet_files(wnids):
    """One image a class to train, in grey for every tenth, and 30 to validate."""
    files = {}
    for k, wnid in enumerate(wnids):
        train = f"train/{wnid}"
        files[f"{train}/images/{wnid}_0.JPEG"] = jpeg(k, "RGB" if k % 10 else "L")
        files[f"{train}/{wnid}_boxes.txt"] = b""
    for k in range(VALIDATION):
        files[f"val/images/val_{k}.JPEG"] = jpeg(1000 + k)
    tables = {
        "val/val_annotations.txt": [
            f"val_{k}.JPEG\t{wnids[3 * k]}\t0\t0\t63\t63" for k in range(VALIDATION)
        ],
        "wnids.txt": wnids,
        "words.txt": [
            "n99999999\tno class of these",
            *(f"{wnid}\tthing {wnid}, stuff" for wnid in sorted(wnids)),
        ],
    }
    for name, lines in tables.items():
        files[name] = "".join(f"{line}\n" for line in lines).encode()
    files["test/images/test_0.JPEG"] = jpeg(2000)
    return {f"tiny-imagenet-200/{name}": content for name, content in files.items()}


def _tiny_imagenet(wnids):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in tiny_imagenet_files(wnids).items():
            archive.writestr(name, content)
    train = [jpeg(k, "RGB" if k % 10 else "L") for k in range(200)]
    test = [jpeg(1000 + k) for k in range(VALIDATION)]
    return Served(
        {"tiny-imagenet-200.zip": packed.getvalue()},
        Split(np.stack([*map(_pixels, train)]), np.arange(200)),
        Split(np.stack([*map(_pixels, test)]), 3 * np.arange(VALIDATION)),
    )


def _pixels(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


class Server(ThreadingHTTPServer):
    """Has files, and does with each what it is told to.

    Attributes:
        files: content by name.
        manners: by a file's name, what goes wrong with it: ``"cut"`` in the middle,
            ``"stalls"`` there, ``"silent"``, ``"nonsense"`` or a number of HTTP's.
        asked: the names in the order in which they were asked for.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.manners, self.asked = {}, {}, []
        self.ended = threading.Event()

    def handle_error(self, *_):
        """Who asked may have gone."""

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        name = Path(self.path).name
        self.server.asked.append(name)
        content, manner = self.server.files[name], self.server.manners.get(name)
        if isinstance(manner, int):
            self.send_error(manner)
            return
        if manner == "silent":
            self.server.ended.wait(20)
            return
        if manner == "nonsense":
            self.wfile.write(b"nonsense\r\n")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if manner is None else content[: len(content) // 2])
        self.wfile.flush()
        if manner == "stalls":
            self.server.ended.wait(20)


@contextlib.contextmanager
def serving():
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()


def point(name, served, server, monkeypatch):
    """A server has a data set, and its builder takes it from there."""
    server.files.update(served.files)
    infos = {
        server.address + file: UrlInfo(
            size=len(content),
            checksum=hashlib.sha256(content).hexdigest(),
            filename=file,
        )
        for file, content in served.files.items()
    }
    if name == "tiny_imagenet":
        kind = tiny_imagenet.TinyImagenet
        monkeypatch.setattr(tiny_imagenet, "URL", *infos)
    elif "mnist" in name:
        kind = {"mnist": mnist.MNIST, "fashion_mnist": mnist.FashionMNIST}[name]
        monkeypatch.setattr(kind, "URL", server.address)
        monkeypatch.setattr(mnist, "_TRAIN_EXAMPLES", TRAIN)
        monkeypatch.setattr(mnist, "_TEST_EXAMPLES", TEST)
    else:
        kind = {"cifar10": cifar.Cifar10, "cifar100": cifar.Cifar100}[name]
        (address,) = infos
        info = cifar.CifarInfo
        monkeypatch.setattr(
            cifar, "CifarInfo", lambda **f: info(**f | {"url": address})
        )
    monkeypatch.setattr(kind, "url_infos", infos)

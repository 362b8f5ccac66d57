"""The right data are found or downloaded, and wrong data never pass for them."""

import contextlib
import errno
import gzip
import hashlib
import http.server
import os
import threading

import numpy as np
import pytest

from data_tools import (
    CLASS_NAMES,
    DataError,
    download,
    fashion_mnist,
    load_fashion_mnist,
    load_sample,
)
from data_tools.files import FULL
from data_tools.make_sample import build, write_idx

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FULL
REAL_FOLDER = fashion_mnist.DEBIAN_FOLDER
IMAGES, LABELS = np.zeros((5, 4, 3), "uint8"), np.arange(5, dtype="uint8")


def packed(arrays, pack=gzip.compress):
    """{name: bytes} of the four files."""
    return {name: pack(write_idx(a)) for name, a in zip(FULL, arrays, strict=True)}


def fill(folder, files, names="{}-idx{}.gz"):
    """Write the files into a new folder, which is returned."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / names.format(*name.split("-idx"))).write_bytes(data)
    return folder


@pytest.fixture
def files(monkeypatch, tmp_path):
    """{name: gzipped bytes} of tiny files in place of the real ones."""
    draw = np.random.default_rng(0).integers
    shapes = (40, 28, 28), 40, (20, 28, 28), 20
    zipped = packed([draw(0, 10, shape).astype("uint8") for shape in shapes])
    for name, data in zipped.items():
        sha256 = hashlib.sha256(gzip.decompress(data)).hexdigest()
        monkeypatch.setitem(FULL, name, sha256)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(download, "TIMEOUT", (5.0, 3.0))
    monkeypatch.setattr(download, "LARGEST", 100_000)
    monkeypatch.setenv("TINYAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYAE_DATA", "")
    monkeypatch.setenv("TINYAE_OFFLINE", "0")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return zipped


def assert_cache_holds(tmp_path, files):
    """The cache holds exactly these files and nothing else."""
    folder = tmp_path / "cache" / "fashion-mnist"
    found = {path.name: path.read_bytes() for path in folder.glob("*")}
    assert found == {f"{name}.gz": data for name, data in files.items()}


def said(capsys):
    """Everything that was printed to stderr, as one line."""
    return " ".join(capsys.readouterr().err.replace("!!", "").split())


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with server.files, but one file with server.fault."""

    def do_GET(self):
        name = self.path.strip("/").removesuffix(".gz")
        self.server.requests.append(name)
        fault = self.server.fault if name == TEST_IMAGES else None
        data = self.server.files[name]
        spoilt = {
            "one bit": gzip.compress(gzip.decompress(data)[:-1] + b"\xff"),
            "login page": b"<html>Please log in</html>",
            "endless": bytes(200_000),
        }
        data = spoilt.get(fault, data)
        self.send_response(404 if fault == "404" else 200)
        if fault != "endless":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(OSError):  # the client may have gone
            self.wfile.write(data[: 99 if fault in ("truncate", "stall") else None])
            self.wfile.flush()
        if fault == "stall":
            self.server.stopped.wait(20)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(files):
    """serve(fault) starts a server; all servers are stopped after the test."""
    servers = []

    def start(fault=None):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.files, server.fault, server.requests = files, fault, []
        server.stopped = threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stopped.set()
        server.shutdown()
        server.server_close()


FAULTS = {  # what a server does: what the user is told
    "404": "answered 404 Not Found",
    "truncate": "failed with ",
    "stall": "did not answer in time",
    "one bit": "sent wrong data: got SHA-256 ",
    "login page": "sent wrong data: not an IDX file",
    "endless": "sends more than 100,000 bytes",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_the_next_mirror_is_used(files, serve, tmp_path, capsys, fault):
    bad, good = serve(fault), serve()
    assert not load_fashion_mnist(mirrors=[bad.url]).complete  # but the sample
    told = f"{TEST_IMAGES}.gz could not be downloaded: {bad.url} {FAULTS[fault]}"
    assert told in said(capsys)
    assert_cache_holds(tmp_path, {name: files[name] for name in list(FULL)[:2]})
    data = load_fashion_mnist(mirrors=[bad.url, good.url])
    assert data.complete and data.source.startswith("a download, now in our cache")
    assert good.requests == [TEST_IMAGES, TEST_LABELS]
    assert_cache_holds(tmp_path, files)


def test_addresses_that_do_not_answer(files, capsys):
    closed = "http://127.0.0.1:1"
    assert not load_fashion_mnist(mirrors=[closed, "nonsense"]).complete
    assert f"{closed} failed with ConnectionError; nonsense failed" in said(capsys)


def test_a_cache_that_cannot_be_written(files, serve, tmp_path):
    (tmp_path / "cache").write_bytes(b"a file where a folder should be")
    data = load_fashion_mnist(mirrors=[serve().url])
    assert data.complete and "cannot be written" in data.source


def test_a_full_disk_leaves_no_half_written_file(files, serve, tmp_path, monkeypatch):
    def replace(part, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", replace)
    data = load_fashion_mnist(mirrors=[serve().url])
    assert data.complete and os.strerror(errno.ENOSPC) in data.source
    assert_cache_holds(tmp_path, {})


def test_each_source_in_its_turn(files, serve, tmp_path, monkeypatch, capsys):
    server = serve()

    def source(folder=None):
        data = load_fashion_mnist(folder, mirrors=[server.url])
        assert data.complete and data.genuine
        for name, array in zip(FULL, data[:4], strict=True):
            assert write_idx(array) == gzip.decompress(files[name])
        return data.source

    cache = tmp_path / "cache" / "fashion-mnist"
    assert source() == f"a download, now in our cache, {cache}"
    debian = fill(tmp_path / "debian", files)
    assert source() == f"our cache, {cache}"
    for path in cache.iterdir():
        path.unlink()
    assert source() == f"Debian's package dataset-fashion-mnist, {debian}"
    named = fill(tmp_path / "named", files)
    monkeypatch.setenv("TINYAE_DATA", str(named))
    assert source() == f"the folder {named}"
    given = fill(tmp_path / "given", files)
    assert source(given) == source(str(given)) == f"the folder {given}"
    assert server.requests == list(FULL)  # after the first time, no request
    assert "!!" not in capsys.readouterr().err


def test_variables_may_name_the_home_folder_or_be_empty(files, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TINYAE_CACHE", "~/mine")
    mine = fill(tmp_path / "mine" / "fashion-mnist", files)
    assert load_fashion_mnist(mirrors=[]).source == f"our cache, {mine}"
    monkeypatch.setenv("TINYAE_CACHE", "")
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "user" / name)
    user = fill(tmp_path / "user" / "tinyae" / "fashion-mnist", files)
    assert load_fashion_mnist(mirrors=[]).source == f"our cache, {user}"
    monkeypatch.setenv("TINYAE_DATA", "~/data")
    data = fill(tmp_path / "data", files)
    assert load_fashion_mnist(mirrors=[]).source == f"the folder {data}"


WRONG = {  # how a file is spoilt: its bytes, made from the right content
    "missing": None,
    "truncated": lambda content: gzip.compress(content)[:-9],
    "too long": lambda content: gzip.compress(content + b"\0"),
    "one byte": lambda content: gzip.compress(content[:-1] + b"\xff"),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_file_is_never_used(files, serve, tmp_path, capsys, how):
    cache = fill(tmp_path / "cache" / "fashion-mnist", files)
    path = where = cache / f"{TEST_LABELS}.gz"
    if how == "missing":
        path.unlink()
        where = cache
    else:
        path.write_bytes(WRONG[how](gzip.decompress(files[TEST_LABELS])))
    assert not load_fashion_mnist(mirrors=[]).complete  # but the sample
    assert f"{where}: " in said(capsys)
    if how == "one byte":  # in a named folder, these are the reader's own data
        assert not load_fashion_mnist(cache).genuine
    else:
        with pytest.raises(DataError, match="expected|damaged|more than") as caught:
            load_fashion_mnist(cache)
        assert str(caught.value).startswith(f"{where}: ")
    server = serve()
    assert load_fashion_mnist(mirrors=[server.url]).complete  # it was replaced
    assert server.requests == [TEST_LABELS]
    assert_cache_holds(tmp_path, files)


@pytest.mark.parametrize("place", ["", "FashionMNIST/raw", "MNIST/raw", "raw"])
@pytest.mark.parametrize(
    "names, pack",
    [
        ("{}-idx{}", bytes),
        ("{}-idx{}.gz", gzip.compress),
        ("{}.idx{}", bytes),  # Kaggle's
        ("{}-idx4-ubyte", bytes),
    ],
)
@pytest.mark.parametrize("images", [IMAGES, np.ones((5, 3, 8, 9), "uint8")])
def test_any_four_idx_files_are_taken(tmp_path, place, names, pack, images):
    arrays = images, LABELS + 200, images[:2], LABELS[:2]
    where = fill(tmp_path / "x" / place, packed(arrays, pack), names)
    data = load_fashion_mnist(tmp_path / "x")
    for ours, array in zip(data[:4], arrays, strict=True):
        np.testing.assert_array_equal(ours, array, strict=True)
    assert not data.genuine and not data.complete
    assert data.source.startswith(f"the folder {where} (not Fashion-MNIST: do not comp")
    assert data.class_names[data.train_labels[0]] == "200"


@pytest.mark.parametrize(
    "images, labels, wrong",
    [
        (IMAGES[0], LABELS, "images"),
        (IMAGES[None, None], LABELS, "images"),
        (IMAGES[:0], LABELS[:0], "images"),
        (IMAGES[:, :0], LABELS, "images"),
        (IMAGES[:, 1:], LABELS, "t10k-images"),  # unlike the training images
        (IMAGES, LABELS[:4], "labels"),
        (IMAGES, LABELS[:, None], "labels"),
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_images_and_labels_must_fit(tmp_path, images, labels, wrong, train):
    right, bad = (IMAGES, LABELS), (images, labels)
    folder = fill(tmp_path / "x", packed(bad + right if train else right + bad))
    with pytest.raises(DataError, match=f"{wrong}-idx.-ubyte.gz: got .*expected"):
        load_fashion_mnist(folder)


@pytest.mark.parametrize("folder", ["nowhere", "file", "~no-such-user/data"])
def test_a_named_folder_that_does_not_exist(tmp_path, folder):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="no such folder"):
        load_fashion_mnist(os.path.join(tmp_path, folder))


def test_a_folder_that_is_no_path():
    with pytest.raises(TypeError, match="^folder: got 7, expected a path"):
        load_fashion_mnist(7)


def test_a_file_too_large_is_not_read(tmp_path):
    folder = fill(tmp_path / "x", packed((IMAGES, LABELS, IMAGES, LABELS)))
    os.truncate(folder / f"{TEST_LABELS}.gz", 2**30 + 1)  # a hole, no bytes on disk
    with pytest.raises(DataError, match="got a larger file, expected"):
        load_fashion_mnist(folder)


@pytest.mark.parametrize("argument, variable", [("sample", "."), (None, "sample")])
def test_the_sample_can_be_chosen(monkeypatch, capsys, argument, variable):
    monkeypatch.setenv("TINYAE_DATA", variable)
    data = load_fashion_mnist(argument)
    assert data.genuine and not data.complete and "sample" in data.source
    assert capsys.readouterr().err == ""


def test_the_sample_is_balanced_and_may_be_copied():
    data = load_sample()
    assert data.train_images.shape == (6000, 28, 28)
    assert data.test_images.shape == (1000, 28, 28)
    assert np.bincount(data.train_labels).tolist() == [600] * 10
    assert np.bincount(data.test_labels).tolist() == [100] * 10
    path = fashion_mnist.SAMPLE_FILE.with_name("LICENSE-fashion-mnist.txt")
    assert "Copyright © 2017 Zalando SE" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [None, b"", b"not bzip2"])
def test_a_damaged_sample_is_an_error(tmp_path, monkeypatch, content):
    path = tmp_path / "sample.bz2"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(fashion_mnist, "SAMPLE_FILE", path)
    with pytest.raises(DataError, match="sample.bz2: .*reinstall"):
        load_sample()


def test_the_notice_is_hard_to_miss(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TINYAE_OFFLINE", "1")
    load_fashion_mnist()
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[0] == lines[-1] == "!" * 88
    assert all(line.startswith("!! ") for line in lines[1:-1])
    text = " ".join(" ".join(line.strip("! ") for line in lines).split())
    for says in (
        "NOT THE WHOLE DATA SET",
        "6,000 training and 1,000 test",
        "cannot be compared",
        f"{tmp_path / 'debian'}: expected {TRAIN_IMAGES}.gz or",
        "nothing was downloaded, because TINYAE_OFFLINE is set",
        "apt-get install dataset-fashion-mnist",
        *(f"{name}.gz" for name in FULL),
    ):
        assert says in text


@pytest.mark.skipif(not REAL_FOLDER.is_dir(), reason="needs the full data")
def test_the_sample_is_rebuilt_bit_for_bit():
    data = load_fashion_mnist(REAL_FOLDER)
    assert data.complete and data.train_images.shape == (60_000, 28, 28)
    assert data.class_names == CLASS_NAMES
    assert CLASS_NAMES[data.train_labels[0]] == "Ankle boot"
    assert CLASS_NAMES[data.test_labels[1]] == "Pullover"
    assert build(data) == fashion_mnist.SAMPLE_FILE.read_bytes()

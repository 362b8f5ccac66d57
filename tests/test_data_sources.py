"""Where Fashion-MNIST is found, in which order, and that neither a folder nor a server can pass off wrong data.

Most tests use four tiny files, whose sizes and checksums stand in for those of the real ones, and a server on this
machine that misbehaves as it is told. Nothing here needs the network.
"""

import bz2
import contextlib
import errno
import gzip
import hashlib
import http.server
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy
import pytest

from data_tools import CLASS_NAMES, DataError, download, fashion_mnist, load_fashion_mnist, load_sample
from data_tools.files import FULL, SAMPLE, Content
from data_tools.make_sample import build, main, write_idx

ROOT = Path(__file__).parent.parent
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FULL
REAL_FOLDER = fashion_mnist.DEBIAN_FOLDER
needs_real_data = pytest.mark.skipif(
    not all((REAL_FOLDER / f"{name}.gz").is_file() for name in FULL),
    reason="needs the full data: apt-get install dataset-fashion-mnist")


@pytest.fixture
def files(monkeypatch, tmp_path):
    """Four tiny files in place of the real ones: name -> gzipped bytes; and no data anywhere, no mirror, no setting."""
    draw = numpy.random.default_rng(0).integers
    arrays = [draw(0, 256, (40, 28, 28)), draw(0, 10, 40), draw(0, 256, (20, 28, 28)), draw(0, 10, 20)]
    contents = {name: write_idx(array.astype("uint8")) for name, array in zip(FULL, arrays)}
    for name, content in contents.items():
        monkeypatch.setitem(FULL, name, Content(len(content), hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "no-debian")
    monkeypatch.setenv("TINYAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TINYAE_DATA", raising=False)
    monkeypatch.delenv("TINYAE_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name, seconds in {"CONNECT_SECONDS": 2.0, "READ_SECONDS": 1.0, "PAUSE_SECONDS": 0.01}.items():
        monkeypatch.setattr(download, name, seconds)
    return {name: gzip.compress(content) for name, content in contents.items()}


def fill(folder, files):
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / f"{name}.gz").write_bytes(data)
    return folder


def cache_of(tmp_path):
    return tmp_path / "cache" / "fashion-mnist"


def assert_cache_is_right(tmp_path, files, complete=True):
    """The cache holds right files and nothing else; if `complete`, all four."""
    found = {path.name: path.read_bytes() for path in cache_of(tmp_path).glob("*")}
    right = {f"{name}.gz": data for name, data in files.items()}
    assert found == right if complete else found.items() <= right.items()


# ---- a server that misbehaves --------------------------------------------------------------------------------------

FAULTS = ["truncate", "corrupt", "other file", "stall", "stall at once", "404", "500", "reset", "reset midway",
          "endless", "bad length", "empty"]


class Server:
    """Serves `files` on this machine, each request as `behave(name, number of the request for that file)` says."""

    def __init__(self, files, behave):
        self.files, self.behave, self.requests, self.stopped = files, behave, [], threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.strip("/").removesuffix(".gz")
                outer.requests.append(name)
                with contextlib.suppress(OSError):  # the client may have gone
                    outer.answer(self, name, outer.behave(name, outer.requests.count(name)))

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler, name, behaviour):
        data = self.files[name]
        if behaviour in ("404", "500"):
            return handler.send_error(int(behaviour))
        if behaviour == "reset":
            return self.reset(handler)
        if behaviour == "stall at once":
            return self.stopped.wait(20)
        if behaviour == "corrupt":
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1:]
        if behaviour == "other file":
            data = gzip.compress(b"<html>Please log in to this network</html>")
        if behaviour == "empty":
            data = b""
        handler.send_response(200)
        if behaviour != "endless":
            handler.send_header("Content-Length", "many" if behaviour == "bad length" else str(len(data)))
        handler.end_headers()
        if behaviour == "plain":
            return handler.wfile.write(data)
        if behaviour in ("truncate", "stall", "reset midway"):
            handler.wfile.write(data[:len(data) // 2])
            handler.wfile.flush()
            if behaviour == "stall":
                self.stopped.wait(20)
            if behaviour == "reset midway":
                self.reset(handler)
            return None
        for _ in range(1000 if behaviour == "endless" else 0):  # 30 MB in place of 30 KB
            handler.wfile.write(data)
        return handler.wfile.write(data)

    @staticmethod
    def reset(handler):
        """Close so that the other side reads "connection reset by peer", not an end of file."""
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()

    def stop(self):
        self.stopped.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def serve(files):
    """serve(behave) starts a server; all are stopped after the test."""
    servers = []

    def start(behave=lambda name, request: "right"):
        servers.append(Server(files, behave))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


# ---- the order -----------------------------------------------------------------------------------------------------

def test_each_source_in_its_turn(files, serve, tmp_path, monkeypatch, capsys):
    server = serve()

    def source():
        data = load_fashion_mnist(mirrors=[server.url])
        assert data.complete and data.train_images.shape == (40, 28, 28) and data.test_labels.shape == (20,)
        return data.source

    assert source().startswith("a download") and sorted(server.requests) == sorted(FULL)
    debian = fill(tmp_path / "debian", files)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", debian)
    assert source() == f"our cache, {cache_of(tmp_path)}"
    for path in cache_of(tmp_path).iterdir():
        path.unlink()
    assert source() == f"Debian's package dataset-fashion-mnist, {debian}"
    named = fill(tmp_path / "named", files)
    monkeypatch.setenv("TINYAE_DATA", str(named))
    assert source() == f"the folder {named}"
    given = fill(tmp_path / "given", files)
    assert load_fashion_mnist(given).source == load_fashion_mnist(str(given)).source == f"the folder {given}"
    assert len(server.requests) == 4  # after the first time, no request
    assert "!!" not in capsys.readouterr().err


def test_the_cache_argument_comes_before_the_variable(files, tmp_path):
    folder = fill(tmp_path / "mine" / "fashion-mnist", files)
    assert load_fashion_mnist(cache=tmp_path / "mine").source == f"our cache, {folder}"


def test_plain_files_and_what_is_in_them(files, tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(gzip.decompress(data))
    data = load_fashion_mnist(folder)
    for name, array in zip(FULL, data[:4]):
        assert array.dtype == numpy.uint8 and write_idx(array) == gzip.decompress(files[name])


def damage(folder, how):
    """Spoil one of the four files; returns what the error must say."""
    path = folder / f"{TEST_LABELS}.gz"
    if how == "missing":
        path.unlink()
        return [str(folder), TEST_LABELS]
    content = bytearray(gzip.decompress(path.read_bytes()))
    if how == "not gzip":
        path.write_bytes(b"\0\0\x08\x01<html>")
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-9])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "one bit":
        content[-1] ^= 1
        path.write_bytes(gzip.compress(content))
    elif how == "too long":
        path.write_bytes(gzip.compress(content + b"\0"))
    elif how == "a folder":
        path.unlink()
        path.mkdir()
        return [str(folder), TEST_LABELS]
    return [str(path)]


@pytest.mark.parametrize("how", ["missing", "not gzip", "truncated", "empty", "one bit", "too long", "a folder"])
@pytest.mark.parametrize("through", ["argument", "variable"])
def test_a_named_folder_is_right_or_an_error(files, serve, tmp_path, monkeypatch, how, through):
    server = serve()
    fill(cache_of(tmp_path), files)  # the data are elsewhere too, and must not be taken from there
    folder = fill(tmp_path / "named", files)
    says = damage(folder, how)
    if through == "variable":
        monkeypatch.setenv("TINYAE_DATA", str(folder))
    with pytest.raises(DataError, match="expected|cut short|holds more") as caught:
        load_fashion_mnist(folder if through == "argument" else None, mirrors=[server.url])
    assert all(text in str(caught.value) for text in says)
    assert not server.requests


@pytest.mark.parametrize("folder", ["nowhere", "file"])
def test_a_named_folder_that_is_none(files, tmp_path, folder):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="no such folder"):
        load_fashion_mnist(tmp_path / folder)


@pytest.mark.parametrize("name", ["folder", "cache"])
@pytest.mark.parametrize("value", [7, 1.5, ["a"], b"bytes"])
def test_what_is_no_path_is_named(files, name, value):
    with pytest.raises(TypeError, match=f"^{name}: got .* expected a path"):
        load_fashion_mnist(**{name: value})


# ---- the cache -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["missing", "not gzip", "truncated", "empty", "one bit", "too long"])
def test_a_wrong_file_in_the_cache_is_replaced(files, serve, tmp_path, capsys, how):
    server = serve()
    damage(fill(cache_of(tmp_path), files), how)
    data = load_fashion_mnist(mirrors=[server.url])
    assert data.complete and server.requests == [TEST_LABELS]  # the other three were right
    assert write_idx(data.test_labels) == gzip.decompress(files[TEST_LABELS])
    assert_cache_is_right(tmp_path, files)
    assert ("removed from the cache" in capsys.readouterr().err) == (how != "missing")


def test_a_wrong_file_in_the_cache_goes_even_when_no_other_can_be_had(files, tmp_path):
    damage(fill(cache_of(tmp_path), files), "one bit")
    assert not load_fashion_mnist(mirrors=[]).complete
    assert not (cache_of(tmp_path) / f"{TEST_LABELS}.gz").exists()
    assert_cache_is_right(tmp_path, files, complete=False)


def test_a_cache_that_cannot_be_written(files, serve, tmp_path, capsys):
    (tmp_path / "cache").write_bytes(b"a file where a folder should be")
    data = load_fashion_mnist(mirrors=[serve().url])
    assert data.complete and data.train_images.shape == (40, 28, 28)
    assert "cannot keep" in capsys.readouterr().err


def test_a_disk_that_is_full_costs_the_cache_not_the_data(files, serve, tmp_path, monkeypatch, capsys):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    data = load_fashion_mnist(mirrors=[serve().url])
    assert data.complete and list(cache_of(tmp_path).iterdir()) == []
    assert capsys.readouterr().err.count(os.strerror(errno.ENOSPC)) == 4


def test_what_a_killed_process_left_is_removed(files, serve, tmp_path):
    cache = cache_of(tmp_path)
    cache.mkdir(parents=True)
    old, new = cache / "old.part", cache / "new.part"
    for path in (old, new):
        path.write_bytes(b"half a file")
    os.utime(old, (0, 0))
    assert load_fashion_mnist(mirrors=[serve().url]).complete
    assert not old.exists() and new.exists()  # the new one may belong to a process at work


# ---- downloads -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_is_tried_again(files, serve, tmp_path, fault):
    server = serve(lambda name, request: fault if (name, request) == (TRAIN_LABELS, 1) else "right")
    data = load_fashion_mnist(mirrors=[server.url])
    assert data.complete and server.requests.count(TRAIN_LABELS) == 2
    assert write_idx(data.train_labels) == gzip.decompress(files[TRAIN_LABELS])
    assert_cache_is_right(tmp_path, files)


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_the_next_mirror(files, serve, tmp_path, fault):
    bad, good = serve(lambda name, request: fault if name == TRAIN_LABELS else "right"), serve()
    assert load_fashion_mnist(mirrors=[bad.url, good.url]).complete
    assert bad.requests == list(FULL) and good.requests == [TRAIN_LABELS]
    assert_cache_is_right(tmp_path, files)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_ends_in_the_sample_and_the_reason(files, serve, tmp_path, capsys, fault):
    server = serve(lambda name, request: fault if name == TEST_IMAGES else "right")
    data = load_fashion_mnist(mirrors=[server.url])
    assert not data.complete
    assert server.requests.count(TEST_IMAGES) == download.ROUNDS
    assert_cache_is_right(tmp_path, {name: files[name] for name in (TRAIN_IMAGES, TRAIN_LABELS)})
    notice = capsys.readouterr().err
    assert "THIS IS NOT THE WHOLE DATA SET" in notice and "could not be downloaded" in notice and server.url in notice


@pytest.mark.parametrize("fault, says", [
    ("404", "answered 404"), ("500", "answered 500"), ("stall", "did not answer in time, or stalled"),
    ("corrupt", "wrong data"), ("other file", "wrong data: 42 bytes"), ("endless", "sends more than"), ("truncate", ""),
])
def test_the_reason_is_one_sentence(files, serve, tmp_path, fault, says):
    server = serve(lambda name, request: fault)
    with pytest.raises(DataError) as caught:
        download.fetch_folder(tmp_path / "folder", [server.url])
    assert str(caught.value).startswith(f"{TRAIN_IMAGES}.gz could not be downloaded: {server.url} {says}")
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 400


def test_what_a_server_has_unpacked_on_the_way_is_right_all_the_same(files, serve, tmp_path):
    plain = {name: gzip.decompress(data) for name, data in files.items()}
    server = serve()
    server.files = plain
    assert load_fashion_mnist(mirrors=[server.url]).complete
    assert_cache_is_right(tmp_path, plain)
    assert load_fashion_mnist(mirrors=[]).source.startswith("our cache")


def closed_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}/"


def test_mirrors_that_nobody_answers_at_are_left_out(files, serve, monkeypatch):
    connect, forever = socket.create_connection, threading.Event()

    def black_hole(address, timeout):
        if address[0] == "black.hole":
            forever.wait(60)  # as a name server that does not answer, which no time limit ends
        return connect(address, timeout=timeout)

    monkeypatch.setattr(socket, "create_connection", black_hole)
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.2)
    hole, closed, server = "http://black.hole/", closed_port(), serve()
    try:
        alive, dead = download.reachable([hole, closed, server.url])
    finally:
        forever.set()
    assert alive == [server.url]
    assert dead[hole] == "did not answer in time" and dead[closed].startswith("cannot be reached")
    assert load_fashion_mnist(mirrors=[closed, server.url]).complete


def test_without_a_network_the_sample(files, tmp_path, capsys):
    closed = closed_port()
    assert not load_fashion_mnist(mirrors=[closed]).complete
    assert f"{closed} cannot be reached" in " ".join(capsys.readouterr().err.replace("!!", "").split())
    assert not cache_of(tmp_path).exists() or not list(cache_of(tmp_path).iterdir())


@pytest.mark.parametrize("value, requests", [("1", 0), ("0", 4), ("", 4)])
def test_offline_makes_no_request(files, serve, monkeypatch, capsys, value, requests):
    monkeypatch.setenv("TINYAE_OFFLINE", value)
    server = serve()
    assert load_fashion_mnist(mirrors=[server.url]).complete == bool(requests)
    assert len(server.requests) == requests
    assert ("because TINYAE_OFFLINE is set" in capsys.readouterr().err) == (not requests)


# ---- several processes ---------------------------------------------------------------------------------------------

LOAD = """
import json, sys
from pathlib import Path
from data_tools import fashion_mnist, load_fashion_mnist
from data_tools.files import FULL, Content
FULL.update({name: Content(*content) for name, content in json.loads(sys.argv[1]).items()})
fashion_mnist.DEBIAN_FOLDER = Path(sys.argv[2], "no-debian")
print("started", flush=True)
data = load_fashion_mnist(mirrors=[sys.argv[3]])
print(data.complete, data.train_images.shape)
"""


def start_loading(tmp_path, server):
    command = [sys.executable, "-c", LOAD, json.dumps(FULL), str(tmp_path), server.url]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_two_processes_at_once(files, serve, tmp_path):
    together = threading.Barrier(2)

    def wait_for_both(name, request):
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(30)  # neither gets a file before the other has asked for it too
        return "right"

    server = serve(wait_for_both)
    processes = [start_loading(tmp_path, server) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=100)
        assert out.split("\n")[1] == "True (40, 28, 28)", err
    assert len(server.requests) == 8
    assert_cache_is_right(tmp_path, files)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_process_killed_while_it_downloads(files, serve, tmp_path):
    server = serve(lambda name, request: "stall" if name == TEST_IMAGES else "right")
    process = start_loading(tmp_path, server)
    while TEST_IMAGES not in server.requests and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=100)
    assert_cache_is_right(tmp_path, {name: files[name] for name in (TRAIN_IMAGES, TRAIN_LABELS)})


# ---- the sample ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("through", ["argument", "variable"])
def test_the_sample_can_be_asked_for(files, tmp_path, monkeypatch, capsys, through):
    fill(cache_of(tmp_path), files)
    monkeypatch.setenv("TINYAE_DATA", "sample" if through == "variable" else str(tmp_path))
    data = load_fashion_mnist("sample" if through == "argument" else None)
    assert not data.complete and "sample" in data.source
    assert capsys.readouterr().err == ""


def test_the_sample_is_balanced():
    data = load_sample()
    assert data.train_images.shape == (6000, 28, 28) and data.test_images.shape == (1000, 28, 28)
    assert numpy.bincount(data.train_labels).tolist() == [600] * 10
    assert numpy.bincount(data.test_labels).tolist() == [100] * 10
    assert all(array.dtype == numpy.uint8 for array in data[:4]) and len(CLASS_NAMES) == 10
    assert len(numpy.unique(data.train_images.reshape(6000, -1), axis=0)) > 5990  # garments, not one again and again


def test_the_sample_is_small_and_its_licence_beside_it():
    assert fashion_mnist.SAMPLE_FILE.stat().st_size < 3_500_000
    licence = fashion_mnist.SAMPLE_FILE.with_name("LICENSE-fashion-mnist.txt").read_text(encoding="utf-8")
    assert "Copyright © 2017 Zalando SE" in licence and "The MIT License" in licence


@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "foreign", "one byte"])
def test_a_damaged_sample_is_an_error(tmp_path, monkeypatch, how):
    whole, path = fashion_mnist.SAMPLE_FILE.read_bytes(), tmp_path / "sample.bz2"
    content = bytearray(bz2.decompress(whole)) if how == "one byte" else bytearray(1)
    content[-1] ^= 1
    damaged = {"empty": b"", "truncated": whole[:-1000], "foreign": b"not bzip2 at all",
               "one byte": bz2.compress(bytes(content))}
    if how != "missing":
        path.write_bytes(damaged[how])
    monkeypatch.setattr(fashion_mnist, "SAMPLE_FILE", path)
    with pytest.raises(DataError, match="sample.bz2"):
        load_sample()


def test_the_notice_cannot_be_missed(files, capsys):
    assert not load_fashion_mnist(mirrors=[]).complete
    lines = capsys.readouterr().err.strip().splitlines()
    box = [line for line in lines if line.startswith("!!")]
    assert len(box) > 10 and {len(line) for line in box} == {100}
    assert all(line.endswith("!!") for line in box) and set(box[0]) == set(box[-1]) == {"!"}
    text = " ".join(" ".join(line.strip("! ") for line in box).split())
    for says in ("NOT THE WHOLE DATA SET", "6,000 training and 1,000 test", "cannot be compared", "no-debian",
                 "apt-get install dataset-fashion-mnist", "TINYAE_DATA", f"{TEST_LABELS}.gz"):
        assert says in text


# ---- with the real data --------------------------------------------------------------------------------------------

@needs_real_data
def test_the_real_data():
    data = load_fashion_mnist(REAL_FOLDER)
    assert data.complete and data.train_images.shape == (60_000, 28, 28) and data.test_images.shape == (10_000, 28, 28)
    assert numpy.bincount(data.train_labels).tolist() == [6000] * 10
    assert numpy.bincount(data.test_labels).tolist() == [1000] * 10
    assert CLASS_NAMES[data.train_labels[0]] == "Ankle boot" and CLASS_NAMES[data.test_labels[1]] == "Pullover"


@needs_real_data
def test_the_sample_is_rebuilt_bit_for_bit(tmp_path, monkeypatch, capsys):
    assert build(load_fashion_mnist(REAL_FOLDER)) == fashion_mnist.SAMPLE_FILE.read_bytes()
    assert main(["--check", "--data", str(REAL_FOLDER)]) == 0
    monkeypatch.setattr(fashion_mnist, "SAMPLE_FILE", tmp_path / "sample.bz2")
    monkeypatch.setattr("data_tools.make_sample.SAMPLE_FILE", tmp_path / "sample.bz2")
    assert main(["--check", "--data", str(REAL_FOLDER)]) == 1  # there is none
    assert main(["--data", str(REAL_FOLDER)]) == 0
    assert load_sample().test_labels.shape == (1000,)
    assert "NOT the same" in capsys.readouterr().out


def test_the_sample_is_not_built_from_the_sample(capsys):
    assert main(["--data", "sample"]) == 2 and main(["--data", "nowhere"]) == 2
    assert "needs the full data" in capsys.readouterr().err


def test_the_table_of_the_sample_fits_the_table_of_the_data():
    assert list(SAMPLE) == list(FULL)

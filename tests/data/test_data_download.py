"""A download ends in the right data, or in the sample and the reason."""

import contextlib
import errno
import gzip
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import data_server
import pytest
from data_server import assert_cache_holds, cache_of, words

from data_tools import load_fashion_mnist
from data_tools.files import FULL
from data_tools.make_sample import write_idx

ROOT = Path(__file__).parents[2]
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FULL
files, serve = data_server.files, data_server.serve  # the fixtures

FAULTS = {  # what a server does: what the user is told
    "truncate": "failed with ",
    "corrupt": "sent wrong data: ",
    "login page": "sent wrong data: 42 bytes",
    "stall": "did not answer in time",
    "stall at once": "did not answer in time",
    "404": "answered 404 Not Found",
    "500": "answered 500 Internal Server Error",
    "reset": "failed with ConnectionError",
    "endless": "sends more than ",
    "bad length": "failed with ValueError",
    "empty": "sent wrong data: 0 bytes",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_the_next_mirror_is_used(files, serve, tmp_path, fault):
    bad = serve(lambda name: fault if name == TRAIN_LABELS else "right")
    good = serve()
    data = load_fashion_mnist(mirrors=[bad.url, good.url])
    assert data.complete and data.source.startswith("a download, now in our cache")
    assert write_idx(data.train_labels) == gzip.decompress(files[TRAIN_LABELS])
    assert bad.requests == [TRAIN_IMAGES, TRAIN_LABELS]
    assert good.requests == [TRAIN_LABELS, TEST_IMAGES, TEST_LABELS]
    assert_cache_holds(tmp_path, files)


@pytest.mark.parametrize("fault, says", FAULTS.items())
def test_if_all_fail_the_sample_is_used(files, serve, tmp_path, capsys, fault, says):
    server = serve(lambda name: fault if name == TEST_IMAGES else "right")
    assert not load_fashion_mnist(mirrors=[server.url]).complete
    assert server.requests == [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES]
    del files[TEST_IMAGES], files[TEST_LABELS]
    assert_cache_holds(tmp_path, files)
    notice = words(capsys)
    assert notice.isascii() and "THIS IS NOT THE WHOLE DATA SET" in notice
    assert f"{TEST_IMAGES}.gz could not be downloaded: {server.url} {says}" in notice


def test_addresses_that_do_not_answer(files, serve, tmp_path, capsys):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    mirrors = [closed, "nonsense"]
    assert not load_fashion_mnist(mirrors=mirrors).complete
    assert f"{closed} failed with ConnectionError; nonsense failed" in words(capsys)
    assert not cache_of(tmp_path).exists()
    assert load_fashion_mnist(mirrors=[*mirrors, serve().url]).complete


def test_a_file_that_the_server_unpacked_is_right(files, serve, tmp_path):
    server = serve()
    for name, data in files.items():
        files[name] = gzip.decompress(data)
    assert load_fashion_mnist(mirrors=[server.url]).complete
    assert_cache_holds(tmp_path, files)
    assert load_fashion_mnist(mirrors=[]).source.startswith("our cache")


@pytest.mark.parametrize("value, requests", [("1", 0), ("0", 4), ("", 4)])
def test_offline_makes_no_request(files, serve, monkeypatch, capsys, value, requests):
    monkeypatch.setenv("TINYAE_OFFLINE", value)
    server = serve()
    assert load_fashion_mnist(mirrors=[server.url]).complete == bool(requests)
    assert len(server.requests) == requests
    told = "because TINYAE_OFFLINE is set" in capsys.readouterr().err
    assert told == (not requests)


def test_a_cache_that_cannot_be_written(files, serve, tmp_path):
    (tmp_path / "cache").write_bytes(b"a file where a folder should be")
    data = load_fashion_mnist(mirrors=[serve().url])
    assert data.complete and data.train_images.shape == (40, 28, 28)
    assert f"not kept because {cache_of(tmp_path)} cannot be written" in data.source


def test_a_full_disk(files, serve, tmp_path, monkeypatch):
    def replace(part, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", replace)
    data = load_fashion_mnist(mirrors=[serve().url])
    assert data.complete and os.strerror(errno.ENOSPC) in data.source
    assert_cache_holds(tmp_path, {})


LOAD = """
import json, sys
from pathlib import Path
from data_tools import fashion_mnist, load_fashion_mnist
from data_tools.files import FULL, Content
FULL.update({name: Content(*it) for name, it in json.loads(sys.argv[1]).items()})
fashion_mnist.DEBIAN_FOLDER = Path(sys.argv[2], "no-debian")
data = load_fashion_mnist(mirrors=[sys.argv[3]])
print(data.complete, data.train_images.shape)
"""


def start_loading(tmp_path, server):
    command = [sys.executable, "-c", LOAD, json.dumps(FULL), str(tmp_path), server.url]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=pipe, stderr=pipe)


def test_two_processes_at_once(files, serve, tmp_path):
    together = threading.Barrier(2)

    def wait_for_both(name):
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(30)  # neither gets a file before the other requests it too
        return "right"

    server = serve(wait_for_both)
    processes = [start_loading(tmp_path, server) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=100)
        assert out == "True (40, 28, 28)\n", err
    assert len(server.requests) == 8
    assert_cache_holds(tmp_path, files)


def test_a_process_killed_while_it_downloads(files, serve, tmp_path):
    server = serve(lambda name: "stall" if name == TEST_IMAGES else "right")
    process = start_loading(tmp_path, server)
    while TEST_IMAGES not in server.requests and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=100)
    del files[TEST_IMAGES], files[TEST_LABELS]
    assert_cache_holds(tmp_path, files)

"""That a download ends in the right data or in the sample and the reason, whatever servers, networks, processes do."""

import contextlib
import gzip
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import data_server
import pytest
from data_server import assert_cache_is_right, cache_of

from data_tools import DataError, download, load_fashion_mnist
from data_tools.files import FULL
from data_tools.make_sample import write_idx

ROOT = Path(__file__).parent.parent
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FULL
FAULTS = [
    "truncate",
    "corrupt",
    "other file",
    "stall",
    "stall at once",
    "404",
    "500",
    "reset",
    "reset midway",
    "endless",
    "bad length",
    "empty",
]
files, serve = data_server.files, data_server.serve  # the fixtures


# ---- downloads -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_is_tried_again(files, serve, tmp_path, fault):
    server = serve(
        lambda name, request: fault if (name, request) == (TRAIN_LABELS, 1) else "right"
    )
    data = load_fashion_mnist(mirrors=[server.url])
    assert data.complete and server.requests.count(TRAIN_LABELS) == 2
    assert write_idx(data.train_labels) == gzip.decompress(files[TRAIN_LABELS])
    assert_cache_is_right(tmp_path, files)


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_the_next_mirror(files, serve, tmp_path, fault):
    bad, good = (
        serve(lambda name, request: fault if name == TRAIN_LABELS else "right"),
        serve(),
    )
    assert load_fashion_mnist(mirrors=[bad.url, good.url]).complete
    assert bad.requests == list(FULL) and good.requests == [TRAIN_LABELS]
    assert_cache_is_right(tmp_path, files)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_ends_in_the_sample_and_the_reason(
    files, serve, tmp_path, capsys, fault
):
    server = serve(lambda name, request: fault if name == TEST_IMAGES else "right")
    data = load_fashion_mnist(mirrors=[server.url])
    assert not data.complete
    assert server.requests.count(TEST_IMAGES) == download.ROUNDS
    assert_cache_is_right(
        tmp_path, {name: files[name] for name in (TRAIN_IMAGES, TRAIN_LABELS)}
    )
    notice = capsys.readouterr().err
    assert (
        "THIS IS NOT THE WHOLE DATA SET" in notice
        and "could not be downloaded" in notice
        and server.url in notice
    )


@pytest.mark.parametrize(
    "fault, says",
    [
        ("404", "answered 404"),
        ("500", "answered 500"),
        ("stall", "did not answer in time, or stalled"),
        ("corrupt", "wrong data"),
        ("other file", "wrong data: 42 bytes"),
        ("endless", "sends more than"),
        ("truncate", ""),
    ],
)
def test_the_reason_is_one_sentence(files, serve, tmp_path, fault, says):
    server = serve(lambda name, request: fault)
    with pytest.raises(DataError) as caught:
        download.fetch_folder(tmp_path / "folder", [server.url])
    assert str(caught.value).startswith(
        f"{TRAIN_IMAGES}.gz could not be downloaded: {server.url} {says}"
    )
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 400


def test_what_a_server_has_unpacked_on_the_way_is_right_all_the_same(
    files, serve, tmp_path
):
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
            forever.wait(
                60
            )  # as a name server that does not answer, which no time limit ends
        return connect(address, timeout=timeout)

    monkeypatch.setattr(socket, "create_connection", black_hole)
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.2)
    hole, closed, server = "http://black.hole/", closed_port(), serve()
    try:
        alive, dead = download.reachable([hole, closed, server.url])
    finally:
        forever.set()
    assert alive == [server.url]
    assert dead[hole] == "did not answer in time" and dead[closed].startswith(
        "cannot be reached"
    )
    assert load_fashion_mnist(mirrors=[closed, server.url]).complete


def test_without_a_network_the_sample(files, tmp_path, capsys):
    closed = closed_port()
    assert not load_fashion_mnist(mirrors=[closed]).complete
    assert f"{closed} cannot be reached" in " ".join(
        capsys.readouterr().err.replace("!!", "").split()
    )
    assert not cache_of(tmp_path).exists() or not list(cache_of(tmp_path).iterdir())


@pytest.mark.parametrize("value, requests", [("1", 0), ("0", 4), ("", 4)])
def test_offline_makes_no_request(files, serve, monkeypatch, capsys, value, requests):
    monkeypatch.setenv("TINYAE_OFFLINE", value)
    server = serve()
    assert load_fashion_mnist(mirrors=[server.url]).complete == bool(requests)
    assert len(server.requests) == requests
    assert ("because TINYAE_OFFLINE is set" in capsys.readouterr().err) == (
        not requests
    )


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
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_two_processes_at_once(files, serve, tmp_path):
    together = threading.Barrier(2)

    def wait_for_both(name, request):
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(
                30
            )  # neither gets a file before the other has asked for it too
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
    assert_cache_is_right(
        tmp_path, {name: files[name] for name in (TRAIN_IMAGES, TRAIN_LABELS)}
    )

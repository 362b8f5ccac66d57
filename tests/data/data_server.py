"""Fixtures: four tiny files instead of the real data, and a server that misbehaves.

The sizes and checksums of the tiny files replace those of the real ones. No test here
needs the network.
"""

import contextlib
import gzip
import hashlib
import http.server
import socket
import struct
import threading

import numpy as np
import pytest

from data_tools import download, fashion_mnist
from data_tools.files import FULL, Content
from data_tools.make_sample import write_idx


@pytest.fixture
def files(monkeypatch, tmp_path):
    """{name: gzipped bytes} of the tiny files; no data, mirror or setting elsewhere."""
    draw = np.random.default_rng(0).integers
    arrays = [
        draw(0, 256, (40, 28, 28)),
        draw(0, 10, 40),
        draw(0, 256, (20, 28, 28)),
        draw(0, 10, 20),
    ]
    zipped = {}
    for name, array in zip(FULL, arrays, strict=True):
        content = write_idx(array.astype("uint8"))
        expected = Content(len(content), hashlib.sha256(content).hexdigest())
        monkeypatch.setitem(FULL, name, expected)
        zipped[name] = gzip.compress(content)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "no-debian")
    monkeypatch.setattr(download, "TIMEOUT", (2.0, 1.0))
    monkeypatch.setenv("TINYAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TINYAE_DATA", raising=False)
    monkeypatch.delenv("TINYAE_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return zipped


def fill(folder, files):
    """Write the tiny files into a new folder."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / f"{name}.gz").write_bytes(data)
    return folder


def cache_of(tmp_path):
    return tmp_path / "cache" / "fashion-mnist"


def assert_cache_holds(tmp_path, files):
    """The cache holds exactly these files and nothing else."""
    found = {path.name: path.read_bytes() for path in cache_of(tmp_path).glob("*")}
    assert found == {f"{name}.gz": data for name, data in files.items()}, sorted(found)


def words(capsys):
    """Everything that was printed to stderr, without the box around the notice."""
    return " ".join(capsys.readouterr().err.replace("!!", "").split())


class Server:
    """Serves `files` on this machine; behave(name) says how a request is answered."""

    def __init__(self, files, behave):
        self.files, self.behave = files, behave
        self.requests, self.stopped = [], threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.strip("/").removesuffix(".gz")
                outer.requests.append(name)
                with contextlib.suppress(OSError):  # the client may have gone
                    outer.answer(self, outer.files[name], outer.behave(name))

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        serve = self.http.serve_forever
        threading.Thread(target=serve, args=(0.01,), daemon=True).start()

    def answer(self, handler, data, behaviour):
        if behaviour in ("404", "500"):
            return handler.send_error(int(behaviour))
        if behaviour == "reset":  # the client reads "connection reset by peer"
            linger = struct.pack("ii", 1, 0)
            return handler.connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
        if behaviour == "stall at once":
            return self.stopped.wait(20)
        middle = len(data) // 2
        if behaviour == "corrupt":
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        if behaviour == "login page":
            data = b"<html>Please log in to this network</html>"
        if behaviour == "empty":
            data = b""
        handler.send_response(200)
        length = "many" if behaviour == "bad length" else str(len(data))
        if behaviour != "endless":
            handler.send_header("Content-Length", length)
        handler.end_headers()
        if behaviour in ("truncate", "stall"):
            handler.wfile.write(data[:middle])
            handler.wfile.flush()
            return behaviour == "stall" and self.stopped.wait(20)
        for _ in range(1000 if behaviour == "endless" else 0):
            handler.wfile.write(data)
        return handler.wfile.write(data)

    def stop(self):
        self.stopped.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def serve(files):
    """serve(behave) starts a server; all servers are stopped after the test."""
    servers = []

    def start(behave=lambda name: "right"):
        servers.append(Server(files, behave))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()

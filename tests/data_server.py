"""Four tiny files in place of the real data, a cache to look into, and a server that misbehaves as it is told."""

# The sizes and checksums of these files stand in for those of the real ones. Nothing here needs the network.

import contextlib
import gzip
import hashlib
import http.server
import socket
import struct
import threading

import numpy
import pytest

from data_tools import download, fashion_mnist
from data_tools.files import FULL, Content
from data_tools.make_sample import write_idx


@pytest.fixture
def files(monkeypatch, tmp_path):
    """Four tiny files in place of the real ones: name -> gzipped bytes; and no data anywhere, no mirror, no setting."""
    draw = numpy.random.default_rng(0).integers
    arrays = [
        draw(0, 256, (40, 28, 28)),
        draw(0, 10, 40),
        draw(0, 256, (20, 28, 28)),
        draw(0, 10, 20),
    ]
    contents = {
        name: write_idx(array.astype("uint8")) for name, array in zip(FULL, arrays)
    }
    for name, content in contents.items():
        monkeypatch.setitem(
            FULL, name, Content(len(content), hashlib.sha256(content).hexdigest())
        )
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "no-debian")
    monkeypatch.setenv("TINYAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TINYAE_DATA", raising=False)
    monkeypatch.delenv("TINYAE_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name, seconds in {
        "CONNECT_SECONDS": 2.0,
        "READ_SECONDS": 1.0,
        "PAUSE_SECONDS": 0.01,
    }.items():
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
    assert found == right if complete else found.items() <= right.items(), (
        f"the cache holds {sorted(found)}"
    )


# ---- a server that misbehaves --------------------------------------------------------------------------------------


class Server:
    """Serves `files` on this machine, each request as `behave(name, number of the request for that file)` says."""

    def __init__(self, files, behave):
        self.files, self.behave, self.requests, self.stopped = (
            files,
            behave,
            [],
            threading.Event(),
        )
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.strip("/").removesuffix(".gz")
                outer.requests.append(name)
                with contextlib.suppress(OSError):  # the client may have gone
                    outer.answer(
                        self, name, outer.behave(name, outer.requests.count(name))
                    )

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(
            target=self.http.serve_forever, args=(0.01,), daemon=True
        ).start()

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
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        if behaviour == "other file":
            data = gzip.compress(b"<html>Please log in to this network</html>")
        if behaviour == "empty":
            data = b""
        handler.send_response(200)
        if behaviour != "endless":
            handler.send_header(
                "Content-Length",
                "many" if behaviour == "bad length" else str(len(data)),
            )
        handler.end_headers()
        if behaviour == "plain":
            return handler.wfile.write(data)
        if behaviour in ("truncate", "stall", "reset midway"):
            handler.wfile.write(data[: len(data) // 2])
            handler.wfile.flush()
            if behaviour == "stall":
                self.stopped.wait(20)
            if behaviour == "reset midway":
                self.reset(handler)
            return None
        for _ in range(
            1000 if behaviour == "endless" else 0
        ):  # 30 MB in place of 30 KB
            handler.wfile.write(data)
        return handler.wfile.write(data)

    @staticmethod
    def reset(handler):
        """Close so that the other side reads "connection reset by peer", not an end of file."""
        handler.connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
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

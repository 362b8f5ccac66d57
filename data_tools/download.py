"""Fetch the four files of Fashion-MNIST into a cache folder that never holds a wrong or half-written file.

pooch does the transfer. What it does not do is done here: several addresses are tried in turn, the *content* is
verified, and a dead network is noticed in seconds. Each file is received in memory, verified there, and only then
written beside its place and renamed into it; a rename is all or nothing, so a reader, another process that downloads
at the same time, and a computer whose power fails, see the right file or none.
"""

import contextlib
import io
import os
import socket
import sys
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pooch
from tqdm import tqdm

from data_tools.files import FULL, Content, most_bytes, read_file, verified
from data_tools.idx import DataError

MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)
CONNECT_SECONDS = (
    3.0  # to reach a host; from a network that works this takes a fraction of a second
)
READ_SECONDS = 10.0  # without a single byte, before a transfer counts as stalled
ROUNDS = 2  # times that every mirror is tried
PAUSE_SECONDS = 1.0  # between two rounds


class _BoundedBuffer(io.BytesIO):
    """A file in memory that refuses to grow beyond `limit` bytes, whatever a server sends."""

    def __init__(self, limit: int):
        super().__init__()
        self.limit = limit

    def write(self, data):
        if self.tell() + len(data) > self.limit:
            raise DataError(f"sends more than {self.limit:,} bytes")
        return super().write(data)


def _reason(error: Exception) -> str:
    """One short line that says why a transfer failed."""
    response = getattr(
        error, "response", None
    )  # requests hangs the answer on its errors, if there was one
    if response is not None:
        return f"answered {response.status_code} {response.reason}"
    if "timed out" in str(error):
        return "did not answer in time, or stalled"
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def reachable(mirrors) -> tuple[list[str], dict[str, str]]:
    """Those of `mirrors` whose host (or the proxy before it) accepts a connection, and why the others are left out.

    All are tried at once, in threads that are abandoned when time is up: looking up a name has no time limit of its
    own and takes half a minute where a network is half there. Takes a little over CONNECT_SECONDS at the very most.
    """
    outcome = dict.fromkeys(mirrors, "did not answer in time")

    def connect(mirror):
        parts = urlsplit(mirror)
        proxy = urllib.request.getproxies().get(parts.scheme)
        if proxy and not urllib.request.proxy_bypass(parts.hostname):
            parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        try:
            port = parts.port or {"https": 443}.get(parts.scheme, 80)
            socket.create_connection(
                (parts.hostname, port), timeout=CONNECT_SECONDS
            ).close()
            outcome[mirror] = ""
        except (OSError, ValueError) as error:
            outcome[mirror] = f"cannot be reached ({_reason(error)})"

    threads = [
        threading.Thread(target=connect, args=(mirror,), daemon=True)
        for mirror in mirrors
    ]
    deadline = time.monotonic() + CONNECT_SECONDS + 0.5
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    settled = dict(outcome)  # a copy that no late thread changes
    return [m for m in mirrors if not settled[m]], {
        m: why for m, why in settled.items() if why
    }


def _receive(url: str, name: str, expected: Content) -> tuple[bytes, bytes]:
    """Transfer `url` once: the bytes as they came, and their verified content. Raises OSError or ValueError."""
    buffer = _BoundedBuffer(most_bytes(expected))
    with tqdm(
        desc=name, total=expected.size, unit="B", unit_scale=True, leave=False
    ) as bar:  # pooch corrects total
        # "identity": a server that packs the .gz once more, or unpacks it on the way, would only waste time
        transfer = pooch.HTTPDownloader(
            progressbar=bar,
            chunk_size=2**14,
            headers={"Accept-Encoding": "identity"},
            timeout=(CONNECT_SECONDS, READ_SECONDS),
        )
        transfer(url, buffer, None)
    return buffer.getvalue(), verified(buffer.getvalue(), expected, "wrong data")


def _store(folder: Path, name: str, data: bytes):
    """Write `data` to folder/name.gz, all or nothing. A cache that cannot be written costs a message, not the data."""
    part = (
        folder / f"{name}.{os.getpid()}-{threading.get_ident()}.part"
    )  # two that download share no part
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, folder / f"{name}.gz")
    except OSError as error:
        print(
            f"tinyae: cannot keep {name}.gz in {folder}: {error.strerror}",
            file=sys.stderr,
        )
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)  # renamed already, unless something went wrong


def fetch_file(
    folder: Path, name: str, expected: Content, mirrors, failures: dict[str, str]
) -> bytes:
    """Download one file into `folder` and return its verified, uncompressed content.

    Every mirror is tried in turn, ROUNDS times. Raises DataError if all fail, with the last failure of each;
    `failures` are those of mirrors that have been given up already.
    """
    failures = dict(failures)
    for attempt in range(ROUNDS if mirrors else 0):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        for mirror in mirrors:
            try:
                data, content = _receive(
                    f"{mirror.rstrip('/')}/{name}.gz", name, expected
                )
            except (
                OSError,
                ValueError,
            ) as error:  # requests' errors are OSErrors, DataError is a ValueError
                failures[mirror] = _reason(error)
            else:
                _store(folder, name, data)
                return content
    why = "; ".join(f"{mirror} {reason}" for mirror, reason in failures.items())
    raise DataError(
        f"{name}.gz could not be downloaded: {why or 'no address to download from'}"
    )


def fetch_folder(folder: Path, mirrors=MIRRORS) -> list[bytes]:
    """The verified contents of the four files, in the order of FULL; those that `folder` lacks are downloaded into it.

    Raises DataError, one sentence that names every mirror and what it did, at the first file that no mirror gives.
    """
    _remove_leftovers(folder)
    alive, dead = reachable(mirrors)
    contents = []
    for name, expected in FULL.items():
        try:
            contents.append(read_file(folder, name, expected))
        except DataError:  # not there yet, or wrong: either way it is replaced
            contents.append(fetch_file(folder, name, expected, alive, dead))
    return contents


def _remove_leftovers(folder: Path):
    """Remove what a process left that was killed while it wrote; an hour later, none is still at work on it."""
    for part in folder.glob("*.part"):
        with contextlib.suppress(OSError):  # another process may be faster
            if time.time() - part.stat().st_mtime > 3600:
                part.unlink()

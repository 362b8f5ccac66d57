"""Download the four files of Fashion-MNIST into a cache folder.

pooch transfers a file from one address. We add what it does not do: we try several
addresses (mirrors) in turn, and we verify the uncompressed content. A file is received
in memory and verified there. Only then do we write it to a temporary folder and rename
it into the cache. A rename is all or nothing, so no reader and no other process that
downloads at the same time ever sees a wrong or half-written file.
"""

import io
import os
import tempfile
from pathlib import Path

import pooch
from tqdm import tqdm

from data_tools.files import FULL, LARGEST, read_file, unpack
from data_tools.idx import DataError

MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/"
    "zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)
TIMEOUT = (3.0, 10.0)  # seconds to connect, and to wait for the next bytes
# The progress bar. pooch replaces the total by the one that the server states.
# disable=None hides the bar where the output is not a terminal.
BAR = {"total": 1, "unit": "B", "unit_scale": True, "leave": False, "disable": None}


class _Buffer(io.BytesIO):
    """Hold at most LARGEST bytes in memory, however much a server sends."""

    def write(self, data):
        if self.tell() + len(data) > LARGEST:
            raise DataError(f"sends more than {LARGEST:,} bytes")
        return super().write(data)


def _reason(error):
    """Say in a few words why a transfer failed."""
    response = getattr(error, "response", None)  # requests stores the answer here
    if isinstance(error, DataError):
        return str(error)
    if response is not None:
        return f"answered {response.status_code} {response.reason}"
    if "timed out" in str(error):
        return "did not answer in time"
    return f"failed with {type(error).__name__}"


def _fetch(name, sha256, mirrors):
    """Download one file; return the bytes as they came and the verified array in them.

    A mirror that fails is moved to the end of `mirrors`, so that the next file starts
    with one that works. Raises DataError if all fail, with the reason of each.
    """
    failures = []
    for mirror in tuple(mirrors):
        buffer = _Buffer()
        try:
            with tqdm(desc=name, **BAR) as bar:
                transfer = pooch.HTTPDownloader(bar, chunk_size=2**14, timeout=TIMEOUT)
                transfer(f"{mirror.rstrip('/')}/{name}.gz", buffer, None)
            data = buffer.getvalue()
            return data, unpack(data, "sent wrong data", sha256)[0]
        except Exception as error:  # requests' errors are OSErrors
            failures.append(f"{mirror} {_reason(error)}")
            mirrors.remove(mirror)
            mirrors.append(mirror)
    reasons = "; ".join(failures) or "there is no address to download from"
    raise DataError(f"{name}.gz could not be downloaded: {reasons}")


def _store(path, data):
    """Write `data` to `path`, all or nothing. Raises OSError if that is impossible."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder, path.name)
        part.write_bytes(data)
        os.replace(part, path)


def fetch_folder(folder, mirrors=MIRRORS):
    """Download the files that `folder` lacks or that are wrong there.

    Returns the verified arrays of all four, in the order of FULL, and the reason why
    a file could not be stored in `folder`, "" if all were stored.
    Raises DataError at the first file that no mirror gives; the message is one sentence
    that names every mirror and what it did.
    """
    mirrors, arrays, problem = list(mirrors), [], ""
    for name, sha256 in FULL.items():
        try:
            _, array, _ = read_file(folder, name, sha256)
        except DataError:
            data, array = _fetch(name, sha256, mirrors)
            try:
                _store(folder / f"{name}.gz", data)
            except OSError as error:
                problem = str(error)
        arrays.append(array)
    return arrays, problem

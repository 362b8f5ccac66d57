"""Load Fashion-MNIST, 70,000 grey pictures of garments (28 x 28 pixels, ten classes), wherever it can be found.

    data = load_fashion_mnist()
    data.train_images      # (60000, 28, 28) uint8
    print(data.source)     # where it came from

Where the data are looked for, in this order:
  1. the folder that the caller or the environment variable TINYAE_DATA names: the data are there and right, or it is
     an error. Asked for one thing, we never quietly use another;
  2. our cache, in the user's cache folder or in the one that TINYAE_CACHE names;
  3. the folder where Debian's and Ubuntu's package dataset-fashion-mnist puts the files;
  4. the network, unless TINYAE_OFFLINE=1 is set: the files are downloaded into the cache;
  5. the sample that lies beside this file: a tenth of the real data, and a notice which cannot be missed.
"""

import bz2
import contextlib
import os
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import numpy
import pooch

from data_tools.download import MIRRORS, fetch_folder
from data_tools.files import FULL, SAMPLE, find, read_file, read_folder, verified
from data_tools.idx import DataError, read_idx

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
SAMPLE_FILE = Path(__file__).with_name("sample.bz2")

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)  # what the labels 0 to 9 mean


class FashionMNIST(NamedTuple):
    """The data set. Images are uint8 of shape (N, 28, 28), 0 for background; labels are uint8 of shape (N,), 0 to 9.

    source: where it was found, for people to read. complete: False for the sample, which has 6,000 + 1,000 of the
    60,000 + 10,000 images, and whose results must not be compared with those of the full data.
    """

    train_images: numpy.ndarray
    train_labels: numpy.ndarray
    test_images: numpy.ndarray
    test_labels: numpy.ndarray
    source: str
    complete: bool


def load_fashion_mnist(folder=None, *, cache=None, mirrors=MIRRORS) -> FashionMNIST:
    """Fashion-MNIST from the first place that has it, in the order told at the top of this module.

    folder: a folder (str or path) with the four IDX files, plain or gzipped; or "sample" for the embedded sample;
    left out, TINYAE_DATA is asked for either. cache: a folder for downloads, in place of TINYAE_CACHE or the user's
    cache folder. mirrors: addresses to download from, in turn.
    Raises DataError if a folder was named and the data are not there or not right; TypeError if it is no path.
    """
    asked = folder if folder is not None else os.environ.get("TINYAE_DATA") or None
    if asked == "sample":
        return load_sample()
    if asked is not None:
        place = _path("folder", asked)
        return _data_set(read_folder(place), f"the folder {place}", complete=True)

    cache = (
        _path(
            "cache", cache or os.environ.get("TINYAE_CACHE") or pooch.os_cache("tinyae")
        )
        / "fashion-mnist"
    )
    failures = []
    for place, what in (
        (cache, "our cache"),
        (DEBIAN_FOLDER, "Debian's package dataset-fashion-mnist"),
    ):
        try:
            return _data_set(read_folder(place), f"{what}, {place}", complete=True)
        except DataError as error:
            failures.append(str(error))
    _discard_wrong(cache)
    if os.environ.get("TINYAE_OFFLINE", "0") not in ("", "0"):
        failures.append("nothing was downloaded, because TINYAE_OFFLINE is set")
    else:
        print(f"tinyae: downloading Fashion-MNIST (30 MB) to {cache}", file=sys.stderr)
        try:
            return _data_set(
                fetch_folder(cache, mirrors),
                f"a download, now in our cache, {cache}",
                complete=True,
            )
        except DataError as error:
            failures.append(str(error))
    print(_notice(failures), file=sys.stderr, flush=True)
    return load_sample()


def load_sample() -> FashionMNIST:
    """The embedded sample: the first 600 training and 100 test images of every class. Raises DataError if damaged."""
    total = sum(expected.size for expected in SAMPLE.values())
    try:
        joined = bz2.BZ2Decompressor().decompress(SAMPLE_FILE.read_bytes(), total + 1)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{SAMPLE_FILE}: {error}; install tinyae anew") from error
    contents, start = [], 0
    for name, expected in SAMPLE.items():
        part = joined[start : start + expected.size]
        contents.append(verified(part, expected, f"{SAMPLE_FILE}, {name}"))
        start += expected.size
    return _data_set(
        contents, "the embedded sample (6,000 + 1,000 images)", complete=False
    )


def _data_set(contents: list[bytes], source: str, complete: bool) -> FashionMNIST:
    return FashionMNIST(*map(read_idx, contents), source, complete)


def _path(name: str, value) -> Path:
    """`value` as a path, ~ expanded. Raises TypeError naming the argument if it is none."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name}: got {value!r}, expected a path")
    return Path(value).expanduser()


def _discard_wrong(cache: Path):
    """Remove from our cache, and report, every file that is not what it should be: a failing disk, or a meddler."""
    for name, expected in FULL.items():
        path = find(cache, name)
        try:
            if path is not None:
                read_file(cache, name, expected)
        except DataError as error:
            print(
                f"tinyae: wrong file, removed from the cache: {error}", file=sys.stderr
            )
            with contextlib.suppress(
                OSError
            ):  # if it will not go, a download still replaces it
                path.unlink(missing_ok=True)


def _notice(failures: list[str]) -> str:
    """A box that says that only the sample is there, why, and how to get the data."""
    paragraphs = [
        "THIS IS NOT THE WHOLE DATA SET.",
        "Fashion-MNIST was not found, so a small sample of it is used: 6,000 training and 1,000 test images, a tenth "
        "of the real data. Everything runs, but losses cannot be compared with those of the full data.",
        "What was tried:",
        *(f"- {failure}" for failure in failures),
        "How to get the data, any of:",
        "- on Debian or Ubuntu: sudo apt-get install dataset-fashion-mnist",
        "- run this again with a network, and without TINYAE_OFFLINE",
        f"- put {', '.join(f'{name}.gz' for name in FULL)} into a folder, and name it in TINYAE_DATA",
    ]
    width = 100
    lines = [
        line
        for text in paragraphs
        for line in textwrap.wrap(
            text,
            width - 6,
            break_on_hyphens=False,
            subsequent_indent="  " if text.startswith("-") else "",
        )
    ]
    edge = "!" * width
    return "\n".join(
        ["", edge, *(f"!! {line:<{width - 6}} !!" for line in lines), edge, ""]
    )

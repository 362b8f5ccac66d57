"""Load Fashion-MNIST: 70,000 grey pictures of garments, 28 x 28 pixels, ten classes.

    data = load_fashion_mnist()
    data.train_images      # (60000, 28, 28) uint8
    print(data.source)     # where the data came from

The data are searched for in this order:
  1. the folder that the caller or the environment variable TINYAE_DATA names. If the
     data are not there, or wrong, that is an error: we never quietly use others;
  2. our cache, in the folder that TINYAE_CACHE names or in the user's cache folder;
  3. the folder of Debian's and Ubuntu's package dataset-fashion-mnist;
  4. the network, unless TINYAE_OFFLINE=1 is set: the files are downloaded to our cache;
  5. the embedded sample, a tenth of the real data, with a notice that is hard to miss.
"""

import bz2
import os
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch

from data_tools.download import MIRRORS, fetch_folder
from data_tools.files import FULL, SAMPLE, read_folder, verified
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

NOTICE = """\
THIS IS NOT THE WHOLE DATA SET.
Fashion-MNIST was not found, so a small sample of it is used: 6,000 training and 1,000 \
test images, a tenth of the real data. Everything runs, but losses cannot be compared \
with those of the full data.
What was tried:
{tried}
How to get the data, any of these:
- on Debian or Ubuntu: sudo apt-get install dataset-fashion-mnist
- run this again with a network, and without TINYAE_OFFLINE
- put {names} into a folder, and name the folder in TINYAE_DATA"""


class FashionMNIST(NamedTuple):
    """Hold the images and labels to train on, and those to test on.

    Images are uint8 of shape (N, 28, 28), 0 for background. Labels are uint8 of shape
    (N,), 0 to 9.
    source: where the data were found, in words. complete: False for the sample, which
    has 6,000 + 1,000 of the 60,000 + 10,000 images. Results on the sample must not be
    compared with results on the full data.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str
    complete: bool


def load_fashion_mnist(folder=None, mirrors=MIRRORS) -> FashionMNIST:
    """Load Fashion-MNIST from the first place that has it; this file's top lists them.

    folder: a folder (str or path) with the four IDX files, plain or gzipped, or
    "sample" for the embedded sample. None means TINYAE_DATA, which may hold either.
    mirrors: the addresses to download from, in the order they are tried.
    Raises DataError if a folder is named and its data are missing or wrong, TypeError
    if it is not a path.
    """
    if folder is None:
        folder = os.environ.get("TINYAE_DATA") or None
    if folder == "sample":
        return load_sample()
    if folder is not None:
        if not isinstance(folder, (str, os.PathLike)):
            raise TypeError(f"folder: got {folder!r}, expected a path")
        folder = Path(os.path.expanduser(folder))
        return _data_set(read_folder(folder), f"the folder {folder}")

    cache = os.environ.get("TINYAE_CACHE") or pooch.os_cache("tinyae")
    cache = Path(os.path.expanduser(cache), "fashion-mnist")
    debian = "Debian's package dataset-fashion-mnist"
    tried = []
    for place, what in ((cache, "our cache"), (DEBIAN_FOLDER, debian)):
        try:
            return _data_set(read_folder(place), f"{what}, {place}")
        except DataError as error:
            tried.append(str(error))
    if os.environ.get("TINYAE_OFFLINE", "0") in ("", "0"):
        try:
            return _download(cache, mirrors)
        except DataError as error:
            tried.append(str(error))
    else:
        tried.append("nothing was downloaded, because TINYAE_OFFLINE is set")
    print(_notice(tried), file=sys.stderr, flush=True)
    return load_sample()


def load_sample() -> FashionMNIST:
    """Load the first 600 training and 100 test images of each class, embedded here.

    Raises DataError if the file is missing or damaged.
    """
    total = sum(expected.size for expected in SAMPLE.values())
    try:
        joined = bz2.BZ2Decompressor().decompress(SAMPLE_FILE.read_bytes(), total + 1)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{SAMPLE_FILE}: {error}; reinstall tinyae") from error
    contents, start = [], 0
    for name, expected in SAMPLE.items():
        part = joined[start : start + expected.size]
        contents.append(verified(part, expected, f"{SAMPLE_FILE}, {name}"))
        start += expected.size
    return _data_set(contents, "the embedded sample (6,000 + 1,000 images)", False)


def _data_set(contents: list[bytes], source: str, complete=True) -> FashionMNIST:
    return FashionMNIST(*map(read_idx, contents), source, complete)


def _download(cache: Path, mirrors) -> FashionMNIST:
    """Download the data to `cache`, or only use them if it cannot be written."""
    print(
        f"tinyae: downloading Fashion-MNIST (30 MB) to {cache} "
        "(TINYAE_OFFLINE=1 prevents this)",
        file=sys.stderr,
    )
    contents, problem = fetch_folder(cache, mirrors)
    source = f"a download, now in our cache, {cache}"
    if problem:
        source = f"a download, not kept because {cache} cannot be written ({problem})"
    return _data_set(contents, source)


def _notice(tried: list[str]) -> str:
    """Draw a box that says that only the sample is used, why, and what to do."""
    width = 88
    text = NOTICE.format(
        tried="\n".join(f"- {failure}" for failure in tried),
        names=", ".join(f"{name}.gz" for name in FULL),
    )
    # Paths and addresses are not broken, even if one does not fit into the box.
    whole = {"break_on_hyphens": False, "break_long_words": False}
    wrapper = textwrap.TextWrapper(width - 6, **whole)
    edge = "!" * width
    box = [edge]
    for paragraph in text.splitlines():
        wrapper.subsequent_indent = "  " if paragraph.startswith("-") else ""
        box += [f"!! {line:<{width - 6}} !!" for line in wrapper.wrap(paragraph)]
    return "\n".join(["", *box, edge, ""])

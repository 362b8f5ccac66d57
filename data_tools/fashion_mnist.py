"""Load Fashion-MNIST: 70,000 grey pictures of garments, 28 x 28 pixels, ten classes.

    data = load_fashion_mnist()
    data.train_images      # (60000, 28, 28) uint8
    print(data.source)     # where the data came from

The data are searched for in this order:
  1. the folder that the caller or the environment variable TINYAE_DATA names. It may
     hold any four IDX files, such as MNIST's or your own. If they are not those of
     Fashion-MNIST, `genuine` is False and `source` says so. If a file is missing or
     damaged, that is an error: we never quietly use others;
  2. our cache, in the folder that TINYAE_CACHE names or in the user's cache folder;
  3. the folder of Debian's and Ubuntu's package dataset-fashion-mnist;
  4. the network, unless TINYAE_OFFLINE=1 is set: the files are downloaded to our cache;
  5. the embedded sample, a tenth of the real data, with a notice that is hard to miss.
What we find or download ourselves (2 to 5) is verified by its SHA-256.
"""

import bz2
import hashlib
import io
import os
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch

from data_tools.download import MIRRORS, fetch_folder
from data_tools.files import read_any, read_folder
from data_tools.idx import DataError, read_idx
from tinyae import checks

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
SAMPLE_FILE = Path(__file__).with_name("sample.bz2")
SAMPLE_SHA256 = "ce651bca8f9ea0c7e198d9786df30e41550987023ccfca3d1307205cbda27dc1"
SAMPLE_SIZES = (4_704_016, 6_008, 784_016, 1_008)  # bytes of its four IDX files

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
- put train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, \
t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz into a folder, and name the \
folder in TINYAE_DATA"""


class FashionMNIST(NamedTuple):
    """Hold the images and labels to train on, and those to test on.

    Images are uint8 of shape (M, 28, 28), 0 for background. Labels are uint8 of shape
    (M,), 0 to 9. Other data than Fashion-MNIST may have another size, (M, H, W) or
    (M, C, H, W), and labels up to 255.

    source: where the data were found, in words. genuine: False if they are not
    Fashion-MNIST. complete: whether they are all of Fashion-MNIST; False for other data
    and for the sample, which has 6,000 + 1,000 of the 60,000 + 10,000 images. Only
    results on complete data may be compared with the report's.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str
    complete: bool = True
    genuine: bool = True

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the name of each label: its garment, for other data its number."""
        return CLASS_NAMES if self.genuine else tuple(map(str, range(256)))


def load_fashion_mnist(folder=None, mirrors=MIRRORS) -> FashionMNIST:
    """Load Fashion-MNIST from the first place that has it; this file's top lists them.

    folder: a folder (str or path) with four IDX files, plain or gzipped, of
    Fashion-MNIST or other images; "sample" for the embedded sample. None means
    TINYAE_DATA, which may hold either. The files have their usual names or Kaggle's
    (train-images.idx3-ubyte), and may be where torchvision puts them, in a folder such
    as MNIST/raw inside.
    mirrors: the addresses to download from, in the order they are tried.
    Raises TypeError if folder is not a path, and DataError, naming the file, if one is
    missing or damaged, or if there are not as many labels as images.
    """
    if folder is None:
        folder = os.environ.get("TINYAE_DATA") or None
    if folder == "sample":
        return load_sample()
    if folder is not None:
        if not isinstance(folder, (str, os.PathLike)):
            raise TypeError(f"folder: got {folder!r}, expected a path")
        place, arrays, genuine = read_any(Path(os.path.expanduser(folder)))
        source = f"the folder {place}"
        if not genuine:
            source += " (not Fashion-MNIST: do not compare results with the report's)"
        return FashionMNIST(*arrays, source, genuine, genuine)

    cache = os.environ.get("TINYAE_CACHE") or pooch.os_cache("tinyae")
    cache = Path(os.path.expanduser(cache), "fashion-mnist")
    debian = "Debian's package dataset-fashion-mnist"
    tried = []
    for place, what in ((cache, "our cache"), (DEBIAN_FOLDER, debian)):
        try:
            return FashionMNIST(*read_folder(place), f"{what}, {place}")
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
    try:
        packed = SAMPLE_FILE.read_bytes()
    except OSError as error:
        raise DataError(f"{SAMPLE_FILE}: {error.strerror}; reinstall tinyae") from error
    right = hashlib.sha256(packed).hexdigest() == SAMPLE_SHA256
    checks.expect(
        right, DataError, SAMPLE_FILE, "a damaged file", "tinyae's own: reinstall it"
    )
    file = io.BytesIO(bz2.decompress(packed))
    arrays = [read_idx(file.read(size)) for size in SAMPLE_SIZES]
    source = "the embedded sample (6,000 + 1,000 images)"
    return FashionMNIST(*arrays, source, complete=False, genuine=True)


def _download(cache, mirrors):
    """Download the data to `cache`, or only use them if it cannot be written."""
    print(
        f"tinyae: downloading Fashion-MNIST (30 MB) to {cache} "
        "(TINYAE_OFFLINE=1 prevents this)",
        file=sys.stderr,
    )
    arrays, problem = fetch_folder(cache, mirrors)
    source = f"a download, now in our cache, {cache}"
    if problem:
        source = f"a download, not kept because {cache} cannot be written ({problem})"
    return FashionMNIST(*arrays, source)


def _notice(tried):
    """Say, between two bars, that only the sample is used, why, and what to do."""
    text = NOTICE.format(tried="\n".join(f"- {failure}" for failure in tried))
    wrapper = textwrap.TextWrapper(
        width=88,
        initial_indent="!! ",
        subsequent_indent="!!   ",
        break_on_hyphens=False,  # paths and addresses stay whole
        break_long_words=False,
    )
    bar = "!" * wrapper.width
    return "\n".join(["", bar, *map(wrapper.fill, text.splitlines()), bar, ""])

"""Build the embedded sample from the full data, the same bytes every time.

    python -m data_tools.make_sample

The sample holds the first 600 training and the first 100 test images of each class, in
the order of the data set: four IDX files, one after the other, compressed by bzip2. We
use bzip2 because its output does not vary. The output of zlib, and so of .npz files,
differs between versions of zlib, and an xz file depends on a dozen settings.
"""

import bz2
import sys

import numpy as np

from data_tools.fashion_mnist import (
    CLASS_NAMES,
    SAMPLE_FILE,
    load_fashion_mnist,
)
from data_tools.idx import MAGIC


def write_idx(array: np.ndarray) -> bytes:
    """Return the IDX file of a uint8 array: the inverse of read_idx."""
    sides = b"".join(side.to_bytes(4, "big") for side in array.shape)
    return MAGIC + bytes([array.ndim]) + sides + array.tobytes()


def first_of_each_class(images, labels, count):
    """Return the first `count` images of each class and their labels, in order."""
    classes = range(len(CLASS_NAMES))
    first = [np.flatnonzero(labels == c)[:count] for c in classes]
    chosen = np.sort(np.concatenate(first))
    return images[chosen], labels[chosen]


def build(data):
    """Make the bytes of sample.bz2 from the full data set."""
    train = first_of_each_class(data.train_images, data.train_labels, 600)
    test = first_of_each_class(data.test_images, data.test_labels, 100)
    return bz2.compress(b"".join(map(write_idx, train + test)), compresslevel=9)


if __name__ == "__main__":
    data = load_fashion_mnist()
    if not data.complete:
        sys.exit("make_sample needs the full data")
    SAMPLE_FILE.write_bytes(build(data))

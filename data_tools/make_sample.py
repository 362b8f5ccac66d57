"""Build the embedded sample from the full data, the same bytes every time.

    python -m data_tools.make_sample            writes data_tools/sample.bz2
    python -m data_tools.make_sample --check    compares what would be written with what is there

The sample holds the first 600 training and the first 100 test images of each class, in the order of the data set, as
four IDX files one after the other, compressed by bzip2. bzip2, because it leaves nothing to choose: the output of
zlib, and so of .npz files, differs between versions of zlib, and an xz file depends on a dozen settings.
"""

import argparse
import bz2
import sys

import numpy

from data_tools.fashion_mnist import (
    CLASS_NAMES,
    SAMPLE_FILE,
    FashionMNIST,
    load_fashion_mnist,
)
from data_tools.idx import UNSIGNED_BYTE, DataError

TRAIN_PER_CLASS, TEST_PER_CLASS = 600, 100


def write_idx(array: numpy.ndarray) -> bytes:
    """The IDX file of a uint8 array: the inverse of read_idx."""
    sides = b"".join(side.to_bytes(4, "big") for side in array.shape)
    return bytes([0, 0, UNSIGNED_BYTE, array.ndim]) + sides + array.tobytes()


def first_of_each_class(labels: numpy.ndarray, count: int) -> numpy.ndarray:
    """Where the first `count` of every class stand in `labels` (N,), in increasing order: (10 * count,) integers."""
    return numpy.sort(
        numpy.concatenate(
            [numpy.flatnonzero(labels == c)[:count] for c in range(len(CLASS_NAMES))]
        )
    )


def build(data: FashionMNIST) -> bytes:
    """The content of sample.bz2, made from the full data set."""
    train = first_of_each_class(data.train_labels, TRAIN_PER_CLASS)
    test = first_of_each_class(data.test_labels, TEST_PER_CLASS)
    parts = (
        data.train_images[train],
        data.train_labels[train],
        data.test_images[test],
        data.test_labels[test],
    )
    return bz2.compress(b"".join(map(write_idx, parts)), compresslevel=9)


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        description="Build the embedded sample of Fashion-MNIST from the full data."
    )
    parser.add_argument(
        "--data",
        help="folder with the four files of the full data (default: wherever they are found)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing: compare with the sample that is there",
    )
    options = parser.parse_args(arguments)
    try:
        data = load_fashion_mnist(options.data)
    except DataError as error:
        print(f"make_sample: {error}", file=sys.stderr)
        return 2
    if not data.complete:
        print("make_sample: needs the full data", file=sys.stderr)
        return 2
    sample = build(data)
    if options.check:
        same = SAMPLE_FILE.is_file() and SAMPLE_FILE.read_bytes() == sample
        print(
            f"{SAMPLE_FILE.name}: {'the same' if same else 'NOT the same'}, byte for byte, as from {data.source}"
        )
        return 0 if same else 1
    SAMPLE_FILE.write_bytes(sample)
    print(f"{SAMPLE_FILE.name}: {len(sample):,} bytes written, made from {data.source}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Build the embedded sample from the full data, the same bytes every time.

    python -m data_tools.make_sample            writes data_tools/sample.bz2
    python -m data_tools.make_sample --check    compares the new bytes with that file

The sample holds the first 600 training and the first 100 test images of each class, in
the order of the data set: four IDX files, one after the other, compressed by bzip2. We
use bzip2 because its output does not vary. The output of zlib, and so of .npz files,
differs between versions of zlib, and an xz file depends on a dozen settings.
"""

import argparse
import bz2
import sys

import numpy as np

from data_tools.fashion_mnist import (
    CLASS_NAMES,
    SAMPLE_FILE,
    FashionMNIST,
    load_fashion_mnist,
)
from data_tools.idx import UNSIGNED_BYTE, DataError

TRAIN_PER_CLASS, TEST_PER_CLASS = 600, 100


def write_idx(array: np.ndarray) -> bytes:
    """Return the IDX file of a uint8 array: the inverse of read_idx."""
    sides = b"".join(side.to_bytes(4, "big") for side in array.shape)
    return bytes([0, 0, UNSIGNED_BYTE, array.ndim]) + sides + array.tobytes()


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the first `count` labels of each class, in order."""
    classes = range(len(CLASS_NAMES))
    first = [np.flatnonzero(labels == c)[:count] for c in classes]
    return np.sort(np.concatenate(first))


def build(data: FashionMNIST) -> bytes:
    """Make the bytes of sample.bz2 from the full data set."""
    train = first_of_each_class(data.train_labels, TRAIN_PER_CLASS)
    test = first_of_each_class(data.test_labels, TEST_PER_CLASS)
    arrays = (
        data.train_images[train],
        data.train_labels[train],
        data.test_images[test],
        data.test_labels[test],
    )
    return bz2.compress(b"".join(map(write_idx, arrays)), compresslevel=9)


def main(arguments=None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="make_sample",
        description="Build the embedded sample of Fashion-MNIST from the full data.",
    )
    parser.add_argument("--data", help="folder with the four files of the full data")
    parser.add_argument(
        "--check", action="store_true", help="only compare with the present sample"
    )
    args = parser.parse_args(arguments)
    try:
        data = load_fashion_mnist(args.data)
    except DataError as error:
        parser.error(str(error))
    if not data.complete:
        parser.error("needs the full data")
    sample = build(data)
    if args.check:
        same = SAMPLE_FILE.is_file() and SAMPLE_FILE.read_bytes() == sample
        print(f"{SAMPLE_FILE.name}: {'the same' if same else 'NOT the same'} bytes")
        return 0 if same else 1
    SAMPLE_FILE.write_bytes(sample)
    print(f"{SAMPLE_FILE.name}: {len(sample):,} bytes written")
    return 0


if __name__ == "__main__":
    sys.exit(main())

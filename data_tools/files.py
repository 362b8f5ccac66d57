"""Read and verify the four files of Fashion-MNIST.

The SHA-256 of the *uncompressed* bytes decides whether a file is the right one,
whatever its source. The checksums published for the .gz files do not help: Debian
compresses the files again, so its .gz files differ although their content is the same.
"""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from data_tools.idx import DataError, decompress


class Content(NamedTuple):
    """Describe an uncompressed file by its size in bytes and its SHA-256."""

    size: int
    sha256: str


# In the order of FashionMNIST's fields: training images and labels, then test ones.
FULL = {
    "train-images-idx3-ubyte": Content(
        47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "train-labels-idx1-ubyte": Content(
        60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "t10k-images-idx3-ubyte": Content(
        7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "t10k-labels-idx1-ubyte": Content(
        10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}
# The same for the embedded sample: sample.bz2 holds its four files one after the other.
SAMPLE = {
    "train-images-idx3-ubyte": Content(
        4_704_016, "cf313073c7eb485392848071d5c433571d7166043e971e3345b095cc30518084"
    ),
    "train-labels-idx1-ubyte": Content(
        6_008, "097b93fbcf9bd5bc648b1a457ddc55c9e4ab49afb33f9ecae8ce068399a75e3a"
    ),
    "t10k-images-idx3-ubyte": Content(
        784_016, "7cee33c3c6414b1b86c25e665a6c4f41584269de3b7cc9768b1d351922845eef"
    ),
    "t10k-labels-idx1-ubyte": Content(
        1_008, "3128d790775889812b73c4f13923559c8b9e281d112c6ea7862acf60a206a909"
    ),
}

GZIP_MAGIC = b"\x1f\x8b"


def most_bytes(expected: Content) -> int:
    """Return a bound on the size of the file, plain or gzipped.

    gzip enlarges data that it cannot compress, but by less than we add here.
    """
    return expected.size + expected.size // 100 + 1000


def verified(data: bytes, expected: Content, where: str) -> bytes:
    """Unpack `data` if it is gzipped, check size and SHA-256, return the content.

    Raises DataError, which begins with `where`: the path or address of the data.
    """
    try:
        content = decompress(data, expected.size) if data[:2] == GZIP_MAGIC else data
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    if len(content) != expected.size:
        raise DataError(
            f"{where}: {len(content):,} bytes uncompressed, expected {expected.size:,}"
        )
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != expected.sha256:
        raise DataError(
            f"{where}: SHA-256 {sha256} of the uncompressed bytes, "
            f"expected {expected.sha256}"
        )
    return content


def read_file(folder: Path, name: str, expected: Content) -> bytes:
    """Return the verified content of the file `name`, gzipped or plain, in `folder`.

    Raises DataError if it is missing, unreadable or wrong.
    """
    paths = [folder / f"{name}.gz", folder / name]
    path = next(filter(os.path.isfile, paths), None)
    if path is None:
        raise DataError(f"{folder}: expected {name}.gz or {name}, found neither")
    try:
        with open(path, "rb") as file:
            data = file.read(most_bytes(expected))  # a wrong file may be of any size
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return verified(data, expected, str(path))


def read_folder(folder: Path) -> list[bytes]:
    """Return the verified contents of the four files in `folder`, in FULL's order.

    Raises DataError if the folder or a file is missing, unreadable or wrong.
    """
    if not os.path.isdir(folder):
        raise DataError(
            f"{folder}: no such folder, expected one with the files of Fashion-MNIST"
        )
    return [read_file(folder, name, expected) for name, expected in FULL.items()]

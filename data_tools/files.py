"""The four files of Fashion-MNIST: their names, what they must hold, and how they are read from a folder.

Whatever a file's source, the SHA-256 of its *uncompressed* bytes decides whether it is the right one. The checksums
published for the .gz files would not do: Debian compresses the files anew, and the wrapper says nothing of the content.
"""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from data_tools.idx import DataError, decompress


class Content(NamedTuple):
    """What an uncompressed file must be: its size in bytes and its SHA-256 in hexadecimal."""

    size: int
    sha256: str


# In the order of the fields of FashionMNIST: images and labels to train on, then to test on.
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
# The same for the embedded sample, whose four files lie one after the other in sample.bz2 (see make_sample.py).
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
    """More bytes than a file with this content can have: data that gzip cannot compress grow by less than this."""
    return expected.size + expected.size // 100 + 1000


def verified(data: bytes, expected: Content, where: str) -> bytes:
    """The uncompressed content of `data`, which may be gzipped or plain, once its size and SHA-256 are found right.

    Raises DataError, which begins with `where` (the path or address that the bytes came from).
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
            f"{where}: SHA-256 {sha256} of the uncompressed bytes, expected {expected.sha256}"
        )
    return content


def find(folder: Path, name: str) -> Path | None:
    """The path of the file `name`, gzipped or plain, in `folder`; None if there is neither."""
    return next(
        (
            path
            for path in (folder / f"{name}.gz", folder / name)
            if os.path.isfile(path)
        ),
        None,
    )


def read_file(folder: Path, name: str, expected: Content) -> bytes:
    """The verified content of one file. Raises DataError if it is missing, unreadable or wrong."""
    path = find(folder, name)
    if path is None:
        raise DataError(
            f"{folder}: found neither {name}.gz nor {name}, expected one of them"
        )
    try:
        with open(path, "rb") as file:
            data = file.read(most_bytes(expected))  # a wrong file may be of any size
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return verified(data, expected, str(path))


def read_folder(folder: Path) -> list[bytes]:
    """The verified contents of the four files in `folder`, in the order of FULL. Raises DataError."""
    if not os.path.isdir(folder):
        raise DataError(
            f"{folder}: no such folder, expected one with {', '.join(FULL)} (plain, or ending in .gz)"
        )
    return [read_file(folder, name, expected) for name, expected in FULL.items()]

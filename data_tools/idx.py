"""Read IDX, the file format of MNIST and its successors, and distrust every file.

An IDX file of bytes begins with four bytes: 0, 0, 8 (the code of unsigned bytes) and
the number of dimensions. Then come the dimensions, each a big-endian 32-bit integer.
Then come the values, the last index running fastest:

    00 00 08 03 | 00 00 EA 60 | 00 00 00 1C | 00 00 00 1C | pixels ...
      magic          60,000          28            28

Files come from disks and networks, so they may be cut short, damaged or made to harm.
Whatever the bytes are, both functions here return exactly the data in them or raise
`DataError`. A header may promise 2^128 values, so read_idx counts the bytes that are
present. A gzip file of 1 MB may unpack to 1 GB, so decompress unpacks no more than the
header inside promises, and refuses a promise that is too large.
"""

import gzip
import io
import math
import zlib

import numpy as np

MAGIC = b"\0\0\x08"  # 8: unsigned bytes, the type of value in image data sets
MOST_BYTES = 2**30  # of any file: 1.3 million images of 28 x 28


class DataError(ValueError):
    """Report data that are missing, damaged or not the expected ones."""


def _header(data):
    """Return the shape in the header of an IDX file, and the size of the whole file.

    data: at least the header. Raises DataError if it does not begin with MAGIC.
    """
    if data[:3] != MAGIC or len(data) < 4:
        raise DataError(
            f"not an IDX file of bytes: begins with {bytes(data[:4])!r}, "
            "expected 0, 0, 8 and the number of dimensions"
        )
    start = 4 + 4 * data[3]  # the values begin here
    sides = range(4, start, 4)
    shape = [int.from_bytes(data[i : i + 4], "big") for i in sides]
    return shape, start + math.prod(shape)  # Python's integers do not overflow


def read_idx(data: bytes) -> np.ndarray:
    """Return the array in `data`, the bytes of an uncompressed IDX file.

    The array is a new, writable one of uint8, of the shape that the header states.
    Raises DataError unless `data` is exactly one array of unsigned bytes: for a wrong
    header, and for missing or left-over bytes.
    """
    shape, size = _header(data)
    if len(data) != size:  # a false header is found before anything is allocated
        raise DataError(
            f"IDX file: {len(data):,} bytes, expected {size:,} for the shape {shape}"
        )
    try:
        values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * len(shape))
        return values.reshape(shape).copy()
    except ValueError as error:  # (0, 2^32-1, 2^32-1), or over 64 dimensions
        raise DataError(f"IDX file: shape {shape} is too large: {error}") from error


def decompress(data: bytes, most: int = MOST_BYTES) -> bytes:
    """Return the IDX file that the gzip file `data` holds.

    most: the most bytes that the IDX file may have. Raises DataError if its header is
    wrong or promises more, if more bytes follow than it promises, and if the gzip file
    is damaged (gzip stores a checksum), cut short, or followed by bytes that are
    neither gzip data nor zeros.
    """
    try:
        with gzip.open(io.BytesIO(data)) as file:
            _, size = _header(file.read(4 + 4 * 255))  # of the longest header
            # gzip writes at least 2 bits for 258 bytes: 1 byte for at most 1032.
            most = min(most, 1032 * len(data))
            if size > most:
                raise DataError(
                    f"gzip file: the IDX header in it promises {size:,} bytes, "
                    f"expected at most {most:,}"
                )
            file.seek(0)
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"damaged gzip file: {error}") from error
    if len(content) > size:
        raise DataError(f"gzip file: holds more than the {size:,} bytes promised")
    return content

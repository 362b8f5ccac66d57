"""Read IDX, the file format of MNIST and its successors, and distrust every file.

An IDX file of bytes begins with four bytes: 0, 0, 8 (the code of unsigned bytes) and
the number of dimensions. Then come the dimensions, each a big-endian 32-bit integer.
Then come the values, the last index running fastest:

    00 00 08 03 | 00 00 EA 60 | 00 00 00 1C | 00 00 00 1C | pixels ...
      magic          60,000          28            28

Files come from disks and networks, so they may be cut short, damaged or made to harm.
Whatever the bytes are, both functions here return what they really hold or raise
`DataError`. They need no more memory than the true size of the file: a header may
promise 2^128 values, but only the bytes that are present are counted.
"""

import gzip
import io
import math
import zlib

import numpy as np

UNSIGNED_BYTE = 8  # IDX's code for the one type of value that image data sets use
MOST_DIMENSIONS = 64  # NumPy's own limit


class DataError(ValueError):
    """Report data that are missing, damaged or not the expected ones."""


def read_idx(data: bytes) -> np.ndarray:
    """Return the array in `data`, the bytes of an uncompressed IDX file.

    The array is a new, writable one of uint8, of the shape that the header states.
    Raises DataError unless `data` is exactly one array of unsigned bytes: for a wrong
    magic number, another type of value, missing or left-over bytes.
    """
    if len(data) < 4 or data[0] != 0 or data[1] != 0:
        raise DataError(
            f"not an IDX file: begins with {bytes(data[:4])!r}, "
            "expected 0, 0, a type and a number of dimensions"
        )
    if data[2] != UNSIGNED_BYTE:
        raise DataError(
            f"IDX file: values of type {data[2]:#04x}, "
            f"expected {UNSIGNED_BYTE:#04x} (unsigned bytes)"
        )
    rank = data[3]
    if not 1 <= rank <= MOST_DIMENSIONS:
        raise DataError(f"IDX file: {rank} dimensions, expected 1 to {MOST_DIMENSIONS}")
    start = 4 + 4 * rank  # the values begin here
    if len(data) < start:
        raise DataError(
            f"IDX file: {len(data)} bytes, "
            f"expected a header of {start} for {rank} dimensions"
        )
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)]
    # Python's integers do not overflow, so a false header is found here, before
    # anything is allocated.
    if math.prod(shape) != len(data) - start:
        raise DataError(
            f"IDX file: {len(data) - start:,} values, "
            f"expected {math.prod(shape):,} for the shape {shape}"
        )
    try:
        values = np.frombuffer(data, dtype=np.uint8, offset=start)
        return values.reshape(shape).copy()
    except ValueError as error:  # no values, but huge sides: (0, 2^32-1, 2^32-1)
        raise DataError(f"IDX file: shape {shape} is too large: {error}") from error


def decompress(data: bytes, size: int) -> bytes:
    """Return what the gzip file `data` holds, if that is at most `size` bytes.

    No more than size + 1 bytes are unpacked, so a small file that would expand to fill
    the memory does no harm. Raises DataError if the file holds more, is damaged (gzip
    stores a checksum), is cut short, or is followed by bytes that are no gzip data.
    """
    try:
        with gzip.open(io.BytesIO(data)) as file:
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"damaged gzip file: {error}") from error
    if len(content) > size:
        raise DataError(f"gzip file: holds more than the {size:,} bytes expected")
    return content

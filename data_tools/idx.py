"""Read IDX, the file format of MNIST and its successors, and trust nothing that a file says about itself.

An IDX file of bytes begins with four bytes, 0, 0, 8 (the code of unsigned bytes) and the number of dimensions; then
come the dimensions, each a big-endian 32-bit integer; then the values, the last index running fastest:

    00 00 08 03 | 00 00 EA 60 | 00 00 00 1C | 00 00 00 1C | pixels ...
      magic          60,000          28            28

Files come from disks and networks, so they may be cut short, damaged or made to harm. Whatever bytes come, both
functions here either return what the bytes really hold or raise `DataError`, and take no more memory than the file's
true size calls for: a header may promise 2^128 values, but only the bytes that are there are ever counted.
"""

import math
import zlib

import numpy

UNSIGNED_BYTE = 8  # IDX's code for the one type of value that image data sets use
MOST_DIMENSIONS = 64  # NumPy's own limit


class DataError(ValueError):
    """Data are missing, damaged or not the data expected. The message says what came and what was expected."""


def read_idx(data: bytes) -> numpy.ndarray:
    """The array in `data`, the bytes of an (uncompressed) IDX file: uint8, of the shape that the header states.

    The array is a copy of its own, writable. Raises DataError for anything that is not exactly one array of unsigned
    bytes: a wrong magic number, another type of value, bytes missing or left over.
    """
    if len(data) < 4 or data[0] != 0 or data[1] != 0:
        raise DataError(
            f"not an IDX file: begins with {bytes(data[:4])!r}, expected 0, 0, a type and a rank"
        )
    if data[2] != UNSIGNED_BYTE:
        raise DataError(
            f"IDX file: values of type {data[2]:#04x}, expected {UNSIGNED_BYTE:#04x} (unsigned bytes)"
        )
    rank = data[3]
    if not 1 <= rank <= MOST_DIMENSIONS:
        raise DataError(f"IDX file: {rank} dimensions, expected 1 to {MOST_DIMENSIONS}")
    start = 4 + 4 * rank  # where the values begin
    if len(data) < start:
        raise DataError(
            f"IDX file: {len(data)} bytes, expected a header of {start} for {rank} dimensions"
        )
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)]
    # Python's integers do not overflow, so a lying header is caught here, before anything is allocated.
    if math.prod(shape) != len(data) - start:
        raise DataError(
            f"IDX file: {len(data) - start:,} values, expected {math.prod(shape):,} for the shape {shape}"
        )
    try:
        return (
            numpy.frombuffer(data, dtype=numpy.uint8, offset=start)
            .reshape(shape)
            .copy()
        )
    except ValueError as error:  # no values, yet sides too large for NumPy to note down, as in (0, 2^32-1, 2^32-1)
        raise DataError(
            f"IDX file: the shape {shape} cannot be held by an array: {error}"
        ) from error


def decompress(data: bytes, size: int) -> bytes:
    """What the gzip file `data` holds, if that is at most `size` bytes.

    No more than size + 1 bytes are ever unpacked, so a file that would fill the memory costs nothing. Raises DataError
    if there is more, if the file is damaged (gzip keeps a checksum), cut short, or followed by other bytes.
    """
    gzip = zlib.decompressobj(
        wbits=16 + zlib.MAX_WBITS
    )  # 16: with gzip's header and checksum
    try:
        content = gzip.decompress(data, size + 1)
    except zlib.error as error:
        raise DataError(f"damaged gzip file: {error}") from error
    if len(content) > size:
        raise DataError(f"gzip file: holds more than the {size:,} bytes expected")
    if not gzip.eof:
        raise DataError(
            f"gzip file: cut short after {len(data):,} bytes, which hold {len(content):,}"
        )
    if gzip.unused_data:
        raise DataError(
            f"gzip file: {len(gzip.unused_data):,} bytes too many at its end"
        )
    return content

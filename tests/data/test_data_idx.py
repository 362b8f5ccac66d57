"""Any bytes give the right array or DataError, and never need much memory."""

import gzip
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data_tools import DataError, decompress, load_sample, read_idx
from data_tools.make_sample import write_idx

SAMPLE = load_sample()
LABELS_FILE = write_idx(SAMPLE.test_labels)  # 1,008 real bytes
IMAGES_FILE = write_idx(SAMPLE.test_images[:2])  # 1,584 real bytes
FILES = [LABELS_FILE, IMAGES_FILE]
GZIP_FILES = [gzip.compress(data, mtime=0) for data in FILES]


@st.composite
def mutated(draw, originals):
    """One of `originals` after one to four accidents: bytes changed, lost, added."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        # Half of the accidents hit the first bytes, where a file describes itself.
        head = st.integers(0, min(24, len(data)))
        at = draw(head | st.integers(0, len(data)))
        lost = draw(st.sampled_from([0, 1, 8, len(data)]))
        data[at : at + lost] = draw(st.binary(max_size=8))
    return bytes(data)


def after(magic):
    """Random bytes, half of them after a file's first bytes `magic`."""
    some = st.binary(max_size=64)
    return some | some.map(magic.__add__)


def idx_header(sides):
    return bytes([0, 0, 8, len(sides)]) + b"".join(
        side.to_bytes(4, "big") for side in sides
    )


@st.composite
def false_headers(draw):
    """A header of sides up to 2^32 - 1 in up to 255 dimensions, and a few values."""
    rank = draw(st.integers(0, 5) | st.integers(0, 255))
    side = st.sampled_from([0, 1, 2, 28, 2**16, 2**31, 2**32 - 1])
    header = idx_header([draw(side) for _ in range(rank)])
    return header + draw(st.binary(max_size=16))


def peak_memory(call, *arguments):
    """The most bytes allocated at once during the call, which may raise DataError."""
    tracemalloc.start()
    try:
        call(*arguments)
    except DataError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


@given(hnp.arrays("uint8", hnp.array_shapes(max_dims=4, min_side=0, max_side=6)))
def test_reads_what_was_written(array):
    read = read_idx(write_idx(array))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array, strict=True)


def test_reads_a_file_written_by_hand():
    data = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 10, 11, 12, 20, 21, 255])
    assert read_idx(data).tolist() == [[10, 11, 12], [20, 21, 255]]


def test_the_array_is_a_copy():
    data = bytearray(LABELS_FILE)
    array = read_idx(data)
    array[0] = 99
    assert bytes(data) == LABELS_FILE


@given(after(b"\0\0\x08") | mutated(FILES) | false_headers())
def test_any_bytes_are_read_right_or_refused(data):
    try:
        array = read_idx(data)
    except DataError as error:
        assert str(error).isascii()
        return
    assert array.dtype == np.uint8 and write_idx(array) == data


@pytest.mark.parametrize("sides", [[2**32 - 1], [2**31] * 2, [2**32 - 1] * 4])
def test_a_false_header_needs_no_memory(sides):
    data = idx_header(sides) + bytes(100)
    with pytest.raises(DataError, match="expected"):
        read_idx(data)
    assert peak_memory(read_idx, data) < 100_000


@pytest.mark.parametrize(
    "data, says",
    [
        (b"", "not an IDX file"),
        (b"\0\0\x08", "not an IDX file"),
        (b"\x1f\x8b\x08\0rest", "not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "type 0x0d"),  # floats
        (b"\0\0\x08\0\0", "0 dimensions"),
        (idx_header([1] * 65) + b"x", "65 dimensions"),
        (LABELS_FILE[:7], "header of 8"),
        (LABELS_FILE[:-1], "999 values, expected 1,000"),
        (LABELS_FILE + b"\0", "1,001 values, expected 1,000"),
        (idx_header([0, 2**32 - 1, 2**32 - 1]), "too large"),
    ],
)
def test_what_is_refused_and_how(data, says):
    with pytest.raises(DataError, match=says):
        read_idx(data)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=3), st.integers(0, 5))
def test_gzip_files_of_one_or_more_members(parts, spare):
    content = b"".join(parts)
    data = b"".join(map(gzip.compress, parts))
    assert decompress(data, len(content) + spare) == content
    if content:
        with pytest.raises(DataError, match="more than"):
            decompress(data, len(content) - 1)


@given(after(b"\x1f\x8b\x08") | mutated(GZIP_FILES))
def test_any_gzip_bytes_are_unpacked_right_or_refused(data):
    try:
        content = decompress(data, 5000)
    except DataError:
        return
    assert content == gzip.decompress(data)


@pytest.mark.parametrize("data", GZIP_FILES)
def test_a_gzip_file_cut_anywhere_is_refused(data):
    for length in range(1, len(data)):
        with pytest.raises(DataError, match="damaged"):
            decompress(data[:length], 2000)


@pytest.mark.parametrize("rest", [b"a", b"abc", b"\0\0a", b"\x1f\x8b", LABELS_FILE])
def test_bytes_after_a_gzip_file_are_refused(rest):
    with pytest.raises(DataError, match="damaged"):
        decompress(GZIP_FILES[0] + rest, 2000)
    with pytest.raises(DataError, match="damaged"):
        decompress(GZIP_FILES[0] + rest, len(LABELS_FILE))


def test_a_gzip_bomb_needs_no_memory():
    bomb = gzip.compress(bytes(50_000_000))  # 50 MB in 50 KB
    with pytest.raises(DataError, match="more than the 1,000 bytes expected"):
        decompress(bomb, 1000)
    assert peak_memory(decompress, bomb, 1000) < 1_000_000

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

LABELS = write_idx(load_sample().test_labels)  # 1,008 real bytes
ZIPPED = gzip.compress(LABELS, mtime=0)
arrays = hnp.arrays("uint8", hnp.array_shapes(max_dims=4, min_side=0, max_side=6))


def header(*sides):
    return bytes([0, 0, 8, len(sides)]) + np.array(sides, ">u4").tobytes()


@st.composite
def mutated(draw, original):
    """`original` after one to four accidents: bytes changed, lost, added."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        # Half of the accidents hit the first bytes, where a file describes itself.
        at = draw(st.integers(0, 24) | st.integers(0, len(data)))
        lost = draw(st.sampled_from([0, 1, 8, len(data)]))
        data[at : at + lost] = draw(st.binary(max_size=8))
    return bytes(data)


sides = st.lists(st.sampled_from([0, 1, 2, 28, 2**16, 2**32 - 1]), max_size=100)
false = st.builds(lambda some, rest: header(*some) + rest, sides, st.binary(max_size=9))


def test_reads_a_file_written_by_hand():
    data = bytearray([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 10, 11, 12, 20, 21, 255])
    array = read_idx(data)
    assert array.tolist() == [[10, 11, 12], [20, 21, 255]]
    array[:] = 0
    assert data[-1] == 255  # the array is a copy


@given(arrays)
def test_reads_what_was_written(array):
    data = write_idx(array)
    np.testing.assert_array_equal(read_idx(data), array, strict=True)
    assert decompress(gzip.compress(data)) == data


@given(false | mutated(LABELS))
def test_any_bytes_are_read_right_or_refused(data):
    try:
        array = read_idx(data)
    except DataError:
        return
    assert array.dtype == np.uint8 and write_idx(array) == data


@given(st.binary(max_size=64).map(ZIPPED[:3].__add__) | mutated(ZIPPED))
def test_any_gzip_bytes_are_unpacked_right_or_refused(data):
    try:
        content = decompress(data)
    except DataError:
        return
    assert content == gzip.decompress(data)


@pytest.mark.parametrize(
    "data, says",
    [
        (b"\0\0\x08", "not an IDX file of bytes: begins with "),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "not an IDX file"),  # floats
        (LABELS[:7], "7 bytes, expected "),
        (LABELS + b"\0", "1,009 bytes, expected 1,008"),
        (header(0, 2**32 - 1, 2**32 - 1), "too large"),
    ],
)
def test_what_is_refused_and_how(data, says):
    with pytest.raises(DataError, match=says):
        read_idx(data)


@pytest.mark.parametrize(
    "data", [ZIPPED[:1], ZIPPED[:99], ZIPPED[:-1], ZIPPED + b"a", ZIPPED + LABELS]
)
def test_a_gzip_file_cut_short_or_followed_by_other_bytes_is_refused(data):
    with pytest.raises(DataError, match="damaged"):
        decompress(data)


def test_a_file_larger_than_allowed_is_refused():
    assert decompress(ZIPPED, 1008) == LABELS
    with pytest.raises(DataError, match="promises 1,008 bytes, expected at most 1,007"):
        decompress(ZIPPED, 1007)


@pytest.mark.parametrize(
    "read, data, says",
    [
        (read_idx, header(*[2**32 - 1] * 4) + bytes(100), "expected"),
        # 50 MB in 50 KB
        (decompress, gzip.compress(header(9) + bytes(50_000_000)), "more than the 17"),
        (decompress, gzip.compress(header(2**29)), "promises 536,870,920"),
        (decompress, gzip.compress(bytes(50_000_000)), "not an IDX file"),
    ],
)
def test_a_false_header_or_a_gzip_bomb_needs_no_memory(read, data, says):
    tracemalloc.start()
    with pytest.raises(DataError, match=says):
        read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000

"""The IDX reader and the gzip reader: any bytes give the right answer or DataError, and never a memory spike."""

import gzip
import tracemalloc
import zlib

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data_tools import DataError, decompress, load_sample, read_idx
from data_tools.make_sample import write_idx

SAMPLE = load_sample()
LABELS_FILE = write_idx(SAMPLE.test_labels)  # 1,008 real bytes
IMAGES_FILE = write_idx(SAMPLE.test_images[:2])  # 1,584 real bytes
REAL_FILES = st.sampled_from([LABELS_FILE, IMAGES_FILE])


@st.composite
def mutated(draw, originals):
    """One of `originals` after one to four small accidents: bytes changed, lost, put in, or the end cut off."""
    data = bytearray(draw(originals))
    for _ in range(draw(st.integers(1, 4))):
        # Half of the accidents hit the first bytes, where a file describes itself.
        at = draw(
            st.one_of(st.integers(0, min(24, len(data))), st.integers(0, len(data)))
        )
        kind = draw(st.sampled_from(["change", "lose", "insert", "cut"]))
        if kind == "change":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "lose":
            del data[at : at + draw(st.integers(1, 8))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        else:
            del data[at:]
    return bytes(data)


@st.composite
def lying_headers(draw):
    """A well-formed header that states sizes up to 2^32 - 1 in up to 255 dimensions, before a few bytes of values."""
    rank = draw(st.one_of(st.integers(0, 5), st.integers(0, 255)))
    side = st.sampled_from([0, 1, 2, 28, 2**16, 2**31, 2**32 - 1])
    sides = b"".join(draw(side).to_bytes(4, "big") for _ in range(rank))
    return bytes([0, 0, 8, rank]) + sides + draw(st.binary(max_size=16))


def peak_memory(call, *arguments):
    """The most bytes that were allocated at once during the call, which may raise DataError."""
    tracemalloc.start()
    try:
        call(*arguments)
    except DataError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def right_or_refused(data):
    """read_idx gives an array that means exactly these bytes, or DataError; anything else fails the test."""
    try:
        array = read_idx(data)
    except DataError as error:
        assert str(error)
        return
    assert array.dtype == numpy.uint8 and write_idx(array) == data


@given(
    hnp.arrays(
        numpy.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)
    )
)
def test_reads_back_what_was_written(array):
    read = read_idx(write_idx(array))
    assert read.dtype == numpy.uint8 and read.shape == array.shape
    numpy.testing.assert_array_equal(read, array)


def test_reads_a_file_written_by_hand():
    data = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 10, 11, 12, 20, 21, 255])
    assert read_idx(data).tolist() == [[10, 11, 12], [20, 21, 255]]


def test_the_array_is_the_callers():
    data = bytearray(LABELS_FILE)
    array = read_idx(data)
    array[0] = 99
    assert bytes(data) == LABELS_FILE


@given(
    st.one_of(
        st.binary(max_size=64),
        st.binary(max_size=64).map(lambda tail: b"\0\0\x08" + tail),
    )
)
def test_random_bytes(data):
    right_or_refused(data)


@given(mutated(REAL_FILES))
def test_damaged_real_files(data):
    right_or_refused(data)


@given(lying_headers())
def test_lying_headers(data):
    right_or_refused(data)


@pytest.mark.parametrize(
    "sides", [[2**32 - 1], [2**31, 2**31], [2**32 - 1] * 4, [60_000, 2**20, 2**20]]
)
def test_a_lying_header_costs_no_memory(sides):
    data = (
        bytes([0, 0, 8, len(sides)])
        + b"".join(side.to_bytes(4, "big") for side in sides)
        + bytes(100)
    )
    with pytest.raises(DataError, match="expected"):
        read_idx(data)
    assert peak_memory(read_idx, data) < 100_000


@pytest.mark.parametrize(
    "data, says",
    [
        (b"", "not an IDX file"),
        (b"\0\0\x08", "not an IDX file"),
        (b"\x1f\x8b\x08\0rest", "not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "type 0x0d"),  # floats, which IDX knows too
        (b"\0\0\x08\0\0", "0 dimensions"),
        (bytes([0, 0, 8, 65]) + bytes([0, 0, 0, 1]) * 65 + b"x", "65 dimensions"),
        (LABELS_FILE[:7], "header of 8"),
        (LABELS_FILE[:-1], "999 values, expected 1,000"),
        (LABELS_FILE + b"\0", "1,001 values, expected 1,000"),
        (bytes([0, 0, 8, 3]) + bytes(4) + b"\xff" * 8, "cannot be held"),
    ],
)
def test_what_is_refused_and_how(data, says):
    with pytest.raises(DataError, match=says):
        read_idx(data)


@given(st.binary(max_size=300), st.integers(0, 5))
def test_decompress_gives_back_what_was_compressed(content, spare):
    assert decompress(gzip.compress(content), len(content) + spare) == content
    if content:
        with pytest.raises(DataError, match="more than"):
            decompress(gzip.compress(content), len(content) - 1)


@given(
    mutated(
        st.sampled_from(
            [gzip.compress(LABELS_FILE, mtime=0), gzip.compress(IMAGES_FILE, mtime=0)]
        )
    )
)
def test_damaged_gzip_files(data):
    try:
        content = decompress(data, 2000)
    except DataError:
        return
    assert content in (
        LABELS_FILE,
        IMAGES_FILE,
    )  # only bytes that mean nothing, as the time, were hit


@given(
    st.one_of(
        st.binary(max_size=64),
        st.binary(max_size=64).map(lambda tail: b"\x1f\x8b\x08" + tail),
    )
)
def test_random_gzip_files(data):
    try:
        content = decompress(data, 1000)
    except DataError:
        return
    assert content == zlib.decompress(data, wbits=31)


def test_a_gzip_file_cut_anywhere_is_refused():
    whole = gzip.compress(LABELS_FILE)
    for length in range(len(whole)):
        with pytest.raises(DataError):
            decompress(whole[:length], len(LABELS_FILE))


def test_bytes_after_a_gzip_file_are_refused():
    with pytest.raises(DataError, match="3 bytes too many"):
        decompress(gzip.compress(LABELS_FILE) + b"abc", len(LABELS_FILE))


def test_a_gzip_bomb_costs_no_memory():
    bomb = gzip.compress(bytes(50_000_000))  # 50 MB in 50 KB
    with pytest.raises(DataError, match="more than the 1,000 bytes expected"):
        decompress(bomb, 1000)
    assert peak_memory(decompress, bomb, 1000) < 10 * len(bomb)
